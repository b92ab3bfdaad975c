import type { AdapterModule } from './adapter';
import { type LayersOverlap, layersOverlap } from './layers';
import { type LowRankUpdate, singularValues } from './spectrum';

/** One tensor of an adapter's file. */
export interface AdapterTensor {
  name: string;
  shape: readonly number[];
}

/** A pair that PEFT saved beside one module, by the names of its tensors. */
export interface SavedPair<T extends AdapterTensor> {
  module: string;
  a: T;
  b: T;
}

/** Beyond this, an update is hardly of low rank, and its spectrum takes seconds. */
const LARGEST_RANK = 1024;
/** A pair beside a linear layer, or beside an embedding table: [r, words] and [out, r]. */
const PAIR = /^(?:base_model\.model\.)?(.+)\.lora_(?:(A|B)(?:\.[^.]+)?\.weight|embedding_(A|B))$/;
/** Matrices of the base model that PEFT saves with an adapter beside them: they are not trained. */
const FROZEN = /\.base_layer\.weight$/;

/** By name, layer 10 after layer 9. */
export function inOrder<T>(items: T[], nameOf: (item: T) => string): T[] {
  const { compare } = new Intl.Collator('en', { numeric: true });
  return items.sort((x, y) => compare(nameOf(x), nameOf(y)));
}

/** Sorts an adapter's tensors into low-rank pairs and others. */
export function pairsOf<T extends AdapterTensor>(tensors: Iterable<T>): { pairs: SavedPair<T>[]; others: T[] } {
  const halves = new Map<string, { A?: T; B?: T }>();
  const others: T[] = [];
  for (const tensor of tensors) {
    if (FROZEN.test(tensor.name)) continue;
    const [, module, linear, table] = tensor.name.match(PAIR) ?? [];
    if (module && tensor.shape.length === 2) halves.set(module, { ...halves.get(module), [linear ?? table]: tensor });
    else others.push(tensor);
  }
  const pairs: SavedPair<T>[] = [];
  for (const [module, { A: a, B: b }] of halves)
    if (a && b && a.shape[0] === b.shape[1] && a.shape[0] <= LARGEST_RANK) pairs.push({ module, a, b });
    else others.push(...[a, b].filter((half) => half !== undefined));
  return { pairs: inOrder(pairs, ({ module }) => module), others: inOrder(others, ({ name }) => name) };
}

/** lora_alpha / r of one module as adapter_config.json says it; undefined where it does not. */
export function scaleOf(config: Record<string, unknown> | undefined, module: string, r: number): number | undefined {
  if (typeof config?.lora_alpha !== 'number') return undefined;
  const patterns = Object.entries((config.alpha_pattern ?? {}) as Record<string, unknown>);
  // regular expressions as PEFT takes them; none that a file could stop the page with
  const tame = (pattern: string) => !/\)[*+?{]/.test(pattern) && (pattern.match(/[*+{]/g)?.length ?? 0) <= 3;
  const ends = (pattern: string) => {
    try {
      return tame(pattern) && new RegExp(`^(.*\\.)?(${pattern})$`).test(module);
    } catch {
      return false; // not JavaScript's
    }
  };
  const alpha = Number(patterns.find(([pattern]) => ends(pattern))?.[1] ?? config.lora_alpha);
  return alpha / (config.use_rslora === true ? Math.sqrt(r) : r);
}

/** What is said of a module whose update is known by its singular values. */
export function moduleOf(name: string, update: Omit<LowRankUpdate, 'a' | 'b'>, singular: number[], weight: number | null): AdapterModule {
  const { r, inFeatures, outFeatures } = update;
  const delta = Math.sqrt(singular.reduce((sum, s) => sum + s * s, 0));
  return { name, outFeatures, inFeatures, rank: r, trained: r * (inFeatures + outFeatures), delta, weight, singular };
}

/** What is said of a tensor, by the name it is saved under, whose method has no dense update: its norm. */
export function tensorOf({ name, shape }: AdapterTensor, values: ArrayLike<number>): AdapterModule {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  const [rows = 1, columns = 1] = shape;
  return {
    name: name.replace(/^base_model\.(?:model\.)?/, ''),
    outFeatures: rows,
    inFeatures: columns,
    rank: 0,
    trained: values.length,
    delta: Math.sqrt(sum),
    weight: null,
    singular: [],
  };
}

const NO_DELTA = 'Some tensors of this adapter are no low-rank pairs: of them the norms are shown, and no update of the weights.';
const NO_PAIRS = 'This method adds no update of low rank: the norms of what it trains are shown.';
const NO_SCALE = 'adapter_config.json does not say lora_alpha, or is not at hand: updates are shown as if it were r.';
export const NO_BASE = 'The base model is not at hand: |dW| is shown alone, and not against |W|.';

/** What a reader is told of an adapter of such tensors. `hasScale`: its updates are multiplied as they should be. */
export const notesOf = (pairs: unknown[], others: unknown[], hasScale: boolean): string[] => [
  ...(others.length ? [pairs.length ? NO_DELTA : NO_PAIRS] : []),
  ...(pairs.length && !hasScale ? [NO_SCALE] : []),
];

/** One tensor of a safetensors file in memory. */
export interface FileTensor extends AdapterTensor {
  dtype: string;
  from: number;
  to: number;
}

const SIZES: Record<string, number> = { F32: 4, F16: 2, BF16: 2 };

/** The floating-point tensors of a safetensors file (https://github.com/huggingface/safetensors#format); or what is wrong with it. */
export function readTensors(file: ArrayBuffer): FileTensor[] | string {
  const view = new DataView(file);
  const length = file.byteLength < 8 ? 0 : Number(view.getBigUint64(0, true));
  const start = 8 + length;
  if (length < 2 || start > file.byteLength) return 'This is no whole safetensors file.';
  try {
    const header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(file, 8, length)));
    return Object.entries(header as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [from, to],
          },
        ]) => {
          const values = shape.reduce((product, n) => product * n, 1);
          const whole = shape.every((n) => Number.isSafeInteger(n) && n >= 0) && Number.isSafeInteger(from) && from >= 0;
          if (!(dtype in SIZES)) throw new Error(`tensor ${name.slice(0, 100)} is of type ${String(dtype).slice(0, 20)}`);
          if (!whole || to - from !== values * SIZES[dtype] || start + to > file.byteLength)
            throw new Error(`tensor ${name.slice(0, 100)} is cut off`);
          return { name, shape, dtype, from: start + from, to: start + to };
        },
      );
  } catch (error) {
    return `This safetensors file is damaged: ${(error as Error).message}.`;
  }
}

/** A tensor's values in fp32. */
export function valuesOf(file: ArrayBuffer, { dtype, from, to }: FileTensor): Float32Array {
  const bytes = file.slice(from, to);
  if (dtype === 'F32') return new Float32Array(bytes);
  const halves = new Uint16Array(bytes);
  if (dtype === 'BF16') return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
  return Float32Array.from(halves, (bits) => {
    const exponent = (bits >> 10) & 31;
    const mantissa = bits & 1023;
    const size = exponent === 31 ? Number.NaN : exponent ? 2 ** (exponent - 25) * (1024 + mantissa) : 2 ** -24 * mantissa;
    return bits & 0x8000 ? -size : size;
  });
}

/** Modules of an adapter's file. `pause` is awaited now and then, so that a page stays alive. */
export async function inspectFile(
  file: ArrayBuffer,
  config: Record<string, unknown> | undefined,
  pause: () => Promise<void> = async () => {},
): Promise<{ modules: AdapterModule[]; notes: string[]; between: LayersOverlap[] } | string> {
  const tensors = readTensors(file);
  if (typeof tensors === 'string') return tensors;
  const { pairs, others } = pairsOf(tensors);
  const modules: AdapterModule[] = [];
  for (const { module, a, b } of pairs) {
    const [r, inFeatures] = a.shape;
    const shape = { r, inFeatures, outFeatures: b.shape[0], scale: scaleOf(config, module, r) ?? 1 };
    modules.push(moduleOf(module, shape, singularValues({ ...shape, a: valuesOf(file, a), b: valuesOf(file, b) }), null));
    await pause();
  }
  for (const tensor of others) modules.push(tensorOf(tensor, valuesOf(file, tensor)));
  if (!modules.length) return 'This file holds no tensors.';
  if (!modules.every(({ delta }) => Number.isFinite(delta)))
    return 'This adapter holds values that are no numbers (NaN or infinite): its training failed.';
  const notes = [...(pairs.length ? [NO_BASE] : []), ...notesOf(pairs, others, typeof config?.lora_alpha === 'number')];
  const updates = pairs.map(({ module: name, a, b }) => ({
    ...{ name, r: a.shape[0], inFeatures: a.shape[1], outFeatures: b.shape[0], scale: 1 },
    values: async () => ({ a: valuesOf(file, a), b: valuesOf(file, b) }),
  }));
  return { modules, notes, between: await layersOverlap(updates, pause) };
}

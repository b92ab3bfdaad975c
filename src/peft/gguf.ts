import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { show } from '../core/options';
import * as tf from '../engine/tf';
import type { WeightFormat } from '../engine/weights';
import { type Gguf, type GgufTensor, readGguf } from '../formats/gguf';
import { f32 as float, type GgufEntry, type GgufWritable, text, u32, writeGguf } from '../formats/gguf_write';
import { withFile } from '../formats/slices';
import { Embedding } from '../nn';
import { bf16, f16, f32, q8_0, weightFormat } from '../quantize';
import { type Adapter, ModuleAdapter } from './adapter';
import { LoraConfig } from './lora';
import { LoraTerm } from './lora_term';
import type { BaseModel, PeftConfig } from './method';

/** What llama.cpp calls a model's layers, and the order that it keeps their rows in. */
export interface GgufPlaces {
  architecture: string;
  /** The layers' tensors by the paths of modules: 'blk.0.attn_q.weight'. */
  tensors: ReadonlyMap<string, string>;
  /** Row of the model of each row of a file's: of the matrix of that name. */
  rowOrder?: (name: string, rows: number) => Uint32Array | undefined;
}

const FORMATS: Record<string, { format: WeightFormat; fileType: number }> = {
  f32: { format: f32, fileType: 0 },
  f16: { format: f16, fileType: 1 },
  bf16: { format: bf16, fileType: 32 },
  q8_0: { format: q8_0, fileType: 7 },
};
const MERGE = 'Merge it first, and write the whole model: (await peft.merge_and_unload()).save_pretrained_gguf(path, tokenizer).';
const encoded = (format: WeightFormat, values: Float32Array, columns: number) =>
  (format.encode as NonNullable<WeightFormat['encode']>)(values, columns);

export function placesOf(model: BaseModel): GgufPlaces {
  const places = model.ggufPlaces?.();
  if (!places)
    throw new FileError(
      `tunebook knows no GGUF files of the architecture ${show(model.config.model_type)}. Use PEFT's files: save_pretrained.`,
    );
  return places;
}

/** The pairs of an adapter as they are written; what llama.cpp's format cannot hold is refused. */
function writtenPairs(adapters: Adapter[], config: PeftConfig, places: GgufPlaces) {
  const [made, ...whole] = adapters;
  if (!(config instanceof LoraConfig) || !(made instanceof ModuleAdapter))
    throw new OptionError(
      `llama.cpp's adapters are LoRA's, and this one is ${config.peft_type}. ${made.unmergeable ? 'It works in tunebook and PEFT only.' : MERGE}`,
    );
  if (whole.length) throw new OptionError(`llama.cpp's adapters cannot hold whole modules (modules_to_save). ${MERGE}`);
  return [...made.terms].map(([path, { module, term }]) => {
    const name = places.tensors.get(path);
    if (module instanceof Embedding || !name || !name.startsWith('blk.'))
      throw new OptionError(
        `llama.cpp's adapters cannot hold ${path}: they change the matrices of blocks, not the output head or the embedding table. ${MERGE}`,
      );
    if (!(term instanceof LoraTerm) || term.isMore)
      throw new OptionError(`llama.cpp's adapters hold low-rank pairs alone, and at ${path} there is more. ${MERGE}`);
    return { path, name, pair: term.pair };
  });
}

/**
 * Writes an adapter as llama.cpp's convert_lora_to_gguf does: pairs by the names of their matrices, one lora_alpha for all. Where a pair's scale
 * is another (use_rslora, alpha_pattern), it is worked into B.
 */
export async function writeGgufAdapter(
  path: string,
  config: PeftConfig,
  adapters: Adapter[],
  places: GgufPlaces,
  type: string,
): Promise<void> {
  if (!Object.hasOwn(FORMATS, type))
    throw new OptionError(`outtype is ${show(type)}; it can be ${Object.keys(FORMATS).map(show).join(', ')}.`);
  const { format, fileType } = FORMATS[type];
  const alpha = (config as LoraConfig).lora_alpha;
  const tensors = writtenPairs(adapters, config, places).flatMap(({ path: module, name, pair: { a, b, scale } }): GgufWritable[] => {
    const [rank, into] = a.shape;
    const [out] = b.shape;
    const fitting = (columns: number) => (columns % format.block ? f16 : format);
    const times = (scale * rank) / alpha;
    const order = places.rowOrder?.(`${module}.weight`, out);
    const low = async () => {
      const values = (await b.tensor.data()) as Float32Array;
      const moved = new Float32Array(values.length);
      for (let row = 0; row < out; row++)
        for (let i = 0; i < rank; i++) moved[(order ? order[row] : row) * rank + i] = values[row * rank + i] * times;
      return encoded(fitting(rank), moved, rank);
    };
    return [
      {
        name: `${name}.lora_a`,
        shape: [rank, into],
        type: fitting(into).name,
        data: async () => encoded(fitting(into), (await a.tensor.data()) as Float32Array, into),
      },
      { name: `${name}.lora_b`, shape: [out, rank], type: fitting(rank).name, data: low },
    ];
  });
  const metadata = new Map<string, GgufEntry>([
    ['general.architecture', text(places.architecture)],
    ['general.type', text('adapter')],
    ['adapter.type', text('lora')],
    ['general.file_type', u32(fileType)],
    ['general.quantization_version', u32(2)],
    ['adapter.lora.alpha', float(alpha)],
  ]);
  await mkdir(dirname(path), { recursive: true });
  await writeGguf(path, metadata, tensors);
}

const SUFFIX = /\.lora_[ab]$/;

/** What an adapter of llama.cpp's is, for a model of these places. */
async function openAdapter(
  path: string,
  places: GgufPlaces,
): Promise<{ gguf: Gguf; modules: Map<string, { a: GgufTensor; b: GgufTensor }> }> {
  const gguf = await readGguf(path);
  const get = (key: string) => gguf.metadata.get(key);
  if (get('general.type') !== 'adapter' || get('adapter.type') !== 'lora')
    throw new FileError(
      `${path} is no LoRA adapter: its general.type is ${show(get('general.type'))}. A whole model is loaded by AutoModelForCausalLM.from_pretrained.`,
    );
  if (get('general.architecture') !== places.architecture)
    throw new FileError(
      `${path} is an adapter for the architecture ${show(get('general.architecture'))}, and the model's is ${show(places.architecture)}.`,
    );
  if (get('adapter.alora.invocation_tokens'))
    throw new FileError(`${path} is switched on by tokens of its own (aLoRA), which tunebook does not have.`);
  const alpha = get('adapter.lora.alpha');
  if (typeof alpha !== 'number' || !(alpha > 0) || !Number.isFinite(alpha))
    throw new FileError(`${path}: its adapter.lora.alpha is ${show(alpha)}; a number above 0 is expected.`);
  const paths = new Map([...places.tensors].map(([module, name]) => [name, module]));
  const modules = new Map<string, { a: GgufTensor; b: GgufTensor }>();
  for (const name of gguf.tensors.keys()) {
    const base = name.replace(SUFFIX, '');
    const [a, b] = [gguf.tensors.get(`${base}.lora_a`), gguf.tensors.get(`${base}.lora_b`)];
    const module = paths.get(base);
    if (!a || !b || a.shape.length !== 2 || b.shape.length !== 2 || a.shape[0] !== b.shape[1] || !a.shape[0])
      throw new FileError(`${path}: the tensor ${name} is no half of a low-rank pair.`);
    if (!module || !base.startsWith('blk.'))
      throw new FileError(`${path} changes ${base}, which tunebook reads no GGUF adapters of. Load the adapter from PEFT's files instead.`);
    modules.set(module, { a, b });
  }
  if (!modules.size) throw new FileError(`${path} has no low-rank pairs.`);
  return { gguf, modules };
}

/** The config that says what an adapter of llama.cpp's is. */
export async function ggufConfig(path: string, model: BaseModel): Promise<LoraConfig> {
  const { gguf, modules } = await openAdapter(path, placesOf(model));
  const ranks = new Map<number, number>();
  for (const { a } of modules.values()) ranks.set(a.shape[0], (ranks.get(a.shape[0]) ?? 0) + 1);
  const [[r]] = [...ranks].sort(([, x], [, y]) => y - x);
  const escaped = (module: string) => module.replaceAll('.', '\\.');
  const others = [...modules].filter(([, { a }]) => a.shape[0] !== r).map(([module, { a }]) => [escaped(module), a.shape[0]]);
  // By the ends of names where those are of all blocks, as people write it.
  const ends = [...new Set([...modules.keys()].map((module) => module.slice(module.lastIndexOf('.') + 1)))];
  const ofEnds = [...placesOf(model).tensors.keys()].filter((module) => ends.some((end) => module.endsWith(`.${end}`)));
  return new LoraConfig(
    {
      r,
      lora_alpha: gguf.metadata.get('adapter.lora.alpha') as number,
      target_modules: ofEnds.length === modules.size ? ends : [...modules.keys()],
      rank_pattern: Object.fromEntries(others),
      task_type: model.task_type ?? null,
    },
    true,
  );
}

/** Takes the values of an adapter of llama.cpp's. */
export async function readGgufAdapter(path: string, adapter: Adapter, places: GgufPlaces): Promise<void> {
  const { modules } = await openAdapter(path, places);
  const { terms } = adapter as ModuleAdapter;
  await withFile(path, async (read) => {
    for (const [module, { a, b }] of modules) {
      const term = terms.get(module)?.term;
      if (!(term instanceof LoraTerm)) throw new FileError(`${path} changes ${module}, which the model does not have.`);
      for (const [half, stored] of [
        [term.pair.a, a],
        [term.pair.b, b],
      ] as const) {
        if (stored.shape.join() !== half.shape.join())
          throw new FileError(
            `${path}: ${stored.name} is [${stored.shape}], but the model needs [${half.shape}]. Is the base model the one it was trained on?`,
          );
        const [rows, columns] = stored.shape;
        const values = weightFormat(stored.type, `${path}: ${stored.name}`).decode(await read(stored), rows * columns, columns);
        const order = half === term.pair.b ? places.rowOrder?.(`${module}.weight`, rows) : undefined;
        const sorted = order ? new Float32Array(values.length) : values;
        if (order)
          for (let row = 0; row < rows; row++) sorted.set(values.subarray(order[row] * columns, (order[row] + 1) * columns), row * columns);
        half.assign(tf.keep(tf.tensor(sorted, half.shape)));
      }
    }
  });
}

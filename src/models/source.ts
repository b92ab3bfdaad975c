import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import * as tf from '../engine/tf';
import { Weight, type WeightFormat } from '../engine/weights';
import type { Gguf } from '../formats/gguf';
import { PICKLE } from '../formats/pickle';
import { readSafetensors } from '../formats/safetensors';
import { readIndex, within } from '../formats/shards';
import { withFile } from '../formats/slices';
import { Parameter } from '../nn';
import { type BitsAndBytesConfig, checkScales, weightFormat, widened } from '../quantize';

interface Stored {
  path: string;
  shape: number[];
  type: string;
  offset: number;
  bytes: number;
}

/** What a kind of file does in its own way. */
interface Ways {
  /** For rows that a file keeps in another order: old row of each new row. */
  rowOrder?: (name: string, rows: number) => Uint32Array | undefined;
  /** Vectors that are zeros where they are missing. */
  zeros?: RegExp;
}

/** The output matrix, in all of transformers' models that predict tokens. */
export const HEAD = 'lm_head.weight';

/** What an architecture calls its parts in transformers' files, and how those have them. */
export interface Layout {
  /** The module that a decoder is kept in; some files leave it out of their tensors' names, or say it twice. */
  base: string;
  /** The table of embeddings in it. */
  embeddings: string;
  /** Matrices that are stored as [in, out] (transformers' Conv1D). */
  turned?: RegExp;
}
export const LAYOUT: Layout = { base: 'model', embeddings: 'embed_tokens' };

/** Buffers that older versions of transformers saved, and that follow from config.json. */
export const FOLLOWS = /rotary_emb\.inv_freq$/;

/** A matrix [rows, columns] of values of so many bytes, turned. */
function transposed(values: Uint8Array, size: number, rows: number, columns: number): Uint8Array {
  const turned = new Uint8Array(values.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      const [from, to] = [(i * columns + j) * size, (j * rows + i) * size];
      for (let k = 0; k < size; k++) turned[to + k] = values[from + k];
    }
  return turned;
}

/** The weights of a model in files, by their Hugging Face names, loaded one at a time. It knows which ones nobody has asked for. */
export class WeightSource {
  private readonly unasked: Set<string>;
  constructor(
    readonly description: string,
    private readonly stored: Map<string, Stored>,
    private readonly layout: Layout = LAYOUT,
    private readonly ways: Ways = {},
  ) {
    this.unasked = new Set(stored.keys());
  }
  /** How matrices are packed on the way; null: as they are. */
  quantization: BitsAndBytesConfig | null = null;
  /** What other matrices are turned into; undefined: as they are. */
  format?: WeightFormat;
  private readonly made: { dispose(): void }[] = [];

  /** Loads by `f`; when it fails, what it had taken from here is freed. */
  async loading<T>(f: () => Promise<T>): Promise<T> {
    try {
      return await f();
    } catch (error) {
      for (const part of this.made) part.dispose();
      throw error;
    } finally {
      this.made.length = 0;
    }
  }

  /** The name of the embedding table. */
  get embeddings(): string {
    return `${this.layout.base}.${this.layout.embeddings}.weight`;
  }

  /** A tensor by its name in the model, or as transformers takes it too: with its base model's prefix left out or said once more. */
  private find(name: string): { key: string; at: Stored } | undefined {
    const base = `${this.layout.base}.`;
    for (const key of [name, base + name, ...(name.startsWith(base) ? [name.slice(base.length)] : [])]) {
      const at = this.stored.get(key);
      if (at) return { key, at };
    }
    return undefined;
  }

  has(name: string): boolean {
    return this.find(name) !== undefined;
  }

  /** The shape that a tensor is stored with; undefined where there is none. */
  shape(name: string): number[] | undefined {
    return this.find(name)?.at.shape;
  }

  /** How many values the model has: a head that is the embedding table once more does not count. */
  async numParameters(): Promise<number> {
    const tied = await this.same(this.embeddings, HEAD);
    let total = 0;
    for (const [name, { shape }] of this.stored)
      if (!FOLLOWS.test(name) && !(tied && name === HEAD)) total += shape.reduce((a, b) => a * b, 1);
    return total;
  }

  /** Names of the tensors that nobody has read so far. */
  unread(): string[] {
    return [...this.unasked];
  }

  /** Whether two tensors hold the same bytes. The second counts as read where they do. */
  async same(first: string, second: string): Promise<boolean> {
    const [a, b] = [this.find(first), this.find(second)];
    if (!a || !b || a.at.type !== b.at.type || a.at.shape.join() !== b.at.shape.join()) return false;
    const piece = 16 << 20;
    for (let from = 0; from < a.at.bytes; from += piece) {
      const bytes = Math.min(piece, a.at.bytes - from);
      const [left, right] = await Promise.all(
        [a.at, b.at].map(({ path, offset }) => withFile(path, (read) => read({ offset: offset + from, bytes }))),
      );
      if (Buffer.compare(left, right)) return false;
    }
    this.unasked.delete(b.key);
    return true;
  }

  /** Bytes of all tensors as the files hold them. */
  get bytes(): number {
    let total = 0;
    for (const { bytes } of this.stored.values()) total += bytes;
    return total;
  }

  private async read(name: string, shape: number[]): Promise<{ bytes: Uint8Array; type: string }> {
    const found = this.find(name);
    if (!found) throw this.missing(name);
    const stored = found.at;
    this.unasked.delete(found.key);
    if (stored.shape.join() !== shape.join())
      throw new FileError(`${this.description}: tensor ${name} is [${stored.shape}], but config.json asks for [${shape}].`);
    let bytes = await withFile(stored.path, (read) => read(stored));
    const order = this.ways.rowOrder?.(name, shape[0]);
    if (order) {
      const row = bytes.length / shape[0];
      const sorted = new Uint8Array(bytes.length);
      for (let i = 0; i < shape[0]; i++) sorted.set(bytes.subarray(order[i] * row, (order[i] + 1) * row), i * row);
      bytes = sorted;
    }
    return widened(bytes, stored.type);
  }

  private missing(name: string): FileError {
    const others = [...this.unasked].slice(0, 3).join(', ');
    return new FileError(
      `${this.description} has no tensor ${name}; is it another architecture, or a part of a model? ` +
        (others ? `Its other tensors are called ${others}${this.unasked.size > 3 ? ', ...' : ''}.` : 'It has no other tensors.'),
    );
  }

  /**
   * A matrix, packed as in the file, or as `quantization` says where the file has it in 16 or 32 bits: from the file to native
   * memory, without a copy that stays here.
   */
  async weight(name: string, rows: number, columns: number): Promise<Weight> {
    const turned = this.layout.turned?.test(name);
    const { bytes: read, type } = await this.read(name, turned ? [columns, rows] : [rows, columns]);
    const where = `${this.description}: tensor ${name}`;
    const stored = weightFormat(type, where);
    checkScales(stored, read, where);
    const bytes = turned ? transposed(read, stored.blockBytes, columns, rows) : read;
    const { quantization } = this;
    const wanted = name === this.embeddings ? undefined : quantization?.formatOf(name);
    const values = () => stored.decode(bytes, rows * columns, columns);
    let [format, data] = [stored, bytes];
    if (wanted && quantization) {
      if (this.canPack(stored, wanted, columns)) [format, data] = [wanted, quantization.pack(wanted, values(), columns)];
    } else if (this.format?.encode && this.format !== stored) [format, data] = [this.format, this.format.encode(values(), columns)];
    const weight = new Weight(format, [rows, columns], data);
    this.made.push(weight);
    return weight;
  }

  private canPack(stored: WeightFormat, wanted: WeightFormat, columns: number): boolean {
    if (stored.block > 1)
      warnOnce(
        `${this.description} is packed as ${stored.name} already and stays so: packing it again as ${wanted.name} would only lose accuracy. For ${wanted.name}, load the model's 16-bit files.`,
      );
    else if (columns % wanted.block)
      warnOnce(
        `${this.description}: ${wanted.name} packs ${wanted.block} values along a row; matrices with ${columns} columns stay ${stored.name}.`,
      );
    return stored.block === 1 && columns % wanted.block === 0;
  }

  /** A vector in fp32, frozen, outside any tidy scope. */
  vector(name: string, size: number): Promise<Parameter> {
    return this.parameter(name, [size]);
  }

  /** A vector or matrix in fp32, frozen, outside any tidy scope. */
  async parameter(name: string, shape: number[]): Promise<Parameter> {
    const size = shape.reduce((a, b) => a * b, 1);
    const none = this.ways.zeros?.test(name) && !this.has(name);
    const values = async () => {
      const { bytes, type } = await this.read(name, shape);
      return weightFormat(type, name).decode(bytes, size, shape.at(-1) as number);
    };
    const made = new Parameter(tf.keep(tf.tensor(none ? new Float32Array(size) : await values(), shape)), false);
    this.made.push(made);
    return made;
  }
}

/** How one architecture's tensors are called in GGUF, and what llama.cpp does in its own way. */
export interface GgufNames extends Ways {
  /** [GGUF name with {} for the block's number, Hugging Face name]. */
  tensors: [string, string][];
  /** Tensors that are read with the metadata, or follow from it. */
  elsewhere: RegExp;
}

/** A GGUF file's tensors. One that the architecture has no place for is a FileError that names it. */
export function ggufSource(gguf: Gguf, names: GgufNames, layers: number, layout?: Layout): WeightSource {
  const stored = new Map<string, Stored>();
  const placed = new Set<string>();
  for (const [from, to] of names.tensors)
    for (let i = 0; i < (from.includes('{}') ? layers : 1); i++) {
      const tensor = gguf.tensors.get(from.replace('{}', String(i)));
      if (!tensor) continue;
      placed.add(tensor.name);
      stored.set(to.replace('{}', String(i)), tensor);
    }
  const others = [...gguf.tensors.keys()].filter((name) => !placed.has(name) && !names.elsewhere.test(name));
  if (others.length)
    throw new FileError(
      `${gguf.path} has ${others.length} tensors that tunebook has no place for in this architecture, such as ${others.slice(0, 3).join(', ')}: without them the model would answer wrongly.`,
    );
  return new WeightSource(gguf.path, stored, layout && { ...layout, turned: undefined }, names);
}

/**
 * The file of weights in a folder: model.safetensors where it is there, else the shards that model.safetensors.index.json lists, as in
 * transformers; or what config.json names (`transformers_weights`).
 */
export async function safetensorsSource(folder: string, layout?: Layout, named?: unknown): Promise<WeightSource> {
  const [whole, list] = ['model.safetensors', 'model.safetensors.index.json'];
  const file = typeof named === 'string' ? named : existsSync(join(folder, whole)) || !existsSync(join(folder, list)) ? whole : list;
  const path = within(folder, file, join(folder, 'config.json'));
  const places = file.endsWith('.index.json') ? await readIndex(folder, file) : undefined;
  const stored = new Map<string, Stored>();
  for (const shard of places ? new Set(places.values()) : [path]) {
    if (!existsSync(shard)) throw noFile(folder, shard);
    // Where two shards hold a tensor, the index says which one counts.
    for (const [name, tensor] of (await readSafetensors(shard)).tensors)
      if (!stored.has(name) || places?.get(name) === shard) stored.set(name, { ...tensor, path: shard });
  }
  return new WeightSource(folder, stored, layout);
}

function noFile(folder: string, file: string): FileError {
  const pickled = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => existsSync(join(folder, name)));
  return new FileError(
    pickled
      ? `${folder} has its weights in ${pickled}: ${PICKLE}`
      : `${folder} has no ${relative(folder, file)}: it is not a whole model. Download it again.`,
  );
}

import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import { MatrixWriter } from '../engine/matrix_writer';
import * as tf from '../engine/tf';
import { Weight, type WeightFormat } from '../engine/weights';
import { withFile } from '../formats/slices';
import { Parameter } from '../nn';
import { type BitsAndBytesConfig, checkScales, f32, weightFormat, weightFormats, widened, widenedType } from '../quantize';
import { isBeside, readPacked } from '../quantize/bitsandbytes';

/** Bytes of a matrix that are read at once. */
const PIECE = 1 << 20;

/** Bytes of the types that packed matrices may be stored as. */
const STORAGE: Record<string, number> = { U8: 1, F16: 2, BF16: 2, F32: 4 };

/** A tensor in a file. */
export interface Stored {
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
  /** Vectors that a file has 1 more of. */
  ones?: RegExp;
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

/** Buffers that older versions of transformers saved, and that follow from config.json (rotations, GPT-2's causal masks). */
export const FOLLOWS = /rotary_emb\.inv_freq$|\.attn\.(bias|masked_bias)$/;

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
  /** How the files' matrices were packed, where bitsandbytes has packed them; null: it has not. */
  packedBy: BitsAndBytesConfig | null = null;
  /** What other matrices are turned into; undefined: as they are. */
  format?: WeightFormat;
  /** Makes matrices without their values, where only their sizes are asked for. */
  hollow = false;
  /** What rows are read into, again and again. */
  private piece = new Uint8Array(0);
  private readonly made: { dispose(): void }[] = [];
  private readonly tables = new Set<string>();

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
  protected find(name: string): { key: string; at: Stored } | undefined {
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
    const beside = (name: string) => this.packedBy && /(\.weight\.|\.SCB$|\.weight_format$)/.test(name);
    // Two values of a packed matrix in a byte.
    const packed = (name: string, { type }: Stored) => (this.packedBy && this.stored.has(`${name}.absmax`) ? 2 * STORAGE[type] : 1);
    for (const [name, stored] of this.stored)
      if (!FOLLOWS.test(name) && !(tied && name === HEAD) && !beside(name))
        total += stored.shape.reduce((a, b) => a * b, packed(name, stored));
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

  /** Where a tensor of this name and shape is, which counts as read then. */
  private place(name: string, shape: number[]): Stored {
    const found = this.find(name);
    if (!found) throw this.missing(name);
    this.unasked.delete(found.key);
    if (found.at.shape.join() !== shape.join())
      throw new FileError(`${this.description}: tensor ${name} is [${found.at.shape}], but config.json asks for [${shape}].`);
    return found.at;
  }

  private async read(name: string, shape: number[]): Promise<{ bytes: Uint8Array; type: string }> {
    const stored = this.place(name, shape);
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
   * memory, some rows at a time.
   */
  async weight(name: string, rows: number, columns: number): Promise<Weight> {
    const weight = this.hollow
      ? this.outline(name, rows, columns)
      : ((await this.readPacked(name, [rows, columns])) ?? (await this.pack(name, rows, columns)));
    this.made.push(weight);
    if (weight.format.rowHead) weight.inputThreshold = (this.quantization ?? this.packedBy)?.llm_int8_threshold;
    else if (weight.format.block > 1) weight.products = (this.quantization ?? this.packedBy)?.products;
    return weight;
  }

  /** A table of rows that are looked up: never quantised here. */
  table(name: string, rows: number, columns: number): Promise<Weight> {
    this.tables.add(name);
    return this.weight(name, rows, columns);
  }

  /** A tensor counts as read, and what bitsandbytes keeps beside it. */
  private asked(key: string): void {
    this.unasked.delete(key);
    if (this.packedBy && this.hollow) for (const other of this.unasked) if (isBeside(key, other)) this.unasked.delete(other);
  }

  private outline(name: string, rows: number, columns: number): Weight {
    const found = this.find(name);
    if (found) this.asked(found.key);
    const type = widenedType(found?.at.type ?? f32.name);
    const kept = weightFormats.find((format) => format.name === type);
    const format = kept ? this.formatFor(name, kept, columns) : (this.packedBy?.formatOf(name) ?? f32);
    return Weight.hollow(columns % format.block ? f32 : format, [rows, columns]);
  }

  /** A matrix that bitsandbytes has packed. */
  private async readPacked(name: string, shape: [rows: number, columns: number]): Promise<Weight | undefined> {
    const key = this.find(name)?.key;
    const beside = key && this.packedBy ? [...this.stored.keys()].filter((other) => isBeside(key, other)) : [];
    if (!key || !beside.length) return undefined;
    for (const other of [key, ...beside]) this.asked(other);
    return readPacked(key, shape, beside, async (part) => {
      const stored = this.stored.get(part);
      if (!stored) throw new FileError(`${this.description}: ${key} is packed, but its ${part} is not there. Get the file again.`);
      return { ...stored, bytes: await withFile(stored.path, (read) => read(stored)) };
    });
  }

  /** A matrix in the format that it is to have, some of its rows at a time. */
  private async pack(name: string, rows: number, columns: number): Promise<Weight> {
    const turned = this.layout.turned?.test(name);
    const at = this.place(name, turned ? [columns, rows] : [rows, columns]);
    const where = `${this.description}: tensor ${name}`;
    const stored = weightFormat(widenedType(at.type), where);
    const writer = new MatrixWriter(this.formatFor(name, stored, columns), [rows, columns]);
    try {
      if (turned || this.ways.rowOrder?.(name, rows)) {
        const { bytes } = await this.read(name, at.shape);
        checkScales(stored, bytes, where);
        writer.add(turned ? transposed(bytes, stored.blockBytes, columns, rows) : bytes, stored);
      } else
        await withFile(at.path, async (read) => {
          const row = at.bytes / rows;
          const some = Math.max(1, Math.floor(PIECE / row));
          const size = Math.min(some, rows) * row;
          if (this.piece.length < size) this.piece = new Uint8Array(size);
          const { piece } = this;
          for (let first = 0; first < rows; first += some) {
            const bytes = await read({ offset: at.offset + first * row, bytes: Math.min(some, rows - first) * row }, piece);
            checkScales(stored, bytes, where);
            writer.add(widened(bytes, at.type).bytes, stored);
          }
        });
      return writer.finish();
    } catch (error) {
      writer.dispose();
      throw error;
    }
  }

  /** What a matrix is kept as that the files have as `stored`. */
  private formatFor(name: string, stored: WeightFormat, columns: number): WeightFormat {
    const wanted = this.tables.has(name) ? undefined : this.quantization?.formatOf(name);
    if (wanted) return this.canPack(stored, wanted, columns) ? wanted : stored;
    return this.format?.encode ? this.format : stored;
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
    const found = this.find(name);
    if (this.hollow && found) this.asked(found.key);
    const none = this.hollow || (this.ways.zeros?.test(name) && !this.has(name));
    const values = async () => {
      const { bytes, type } = await this.read(name, shape);
      const found = weightFormat(type, name).decode(bytes, size, shape.at(-1) as number);
      return this.ways.ones?.test(name) ? found.map((value) => value - 1) : found;
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

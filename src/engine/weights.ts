import { ShapeError } from '../core/errors';
import { canBeGrouped, execute, Handle, isNative, isOnGpu } from './backend';
import { untouchedZeros } from './ops/memory';
import type { Precision } from './precision';
import * as tf from './tf';

/**
 * How a frozen weight's bytes are laid out. `code` is what the native ops know it by: GGUF's number of the type, or one from
 * 1000 on for kinds that GGUF does not have.
 */
export interface WeightFormat {
  readonly name: string;
  readonly code: number;
  /** Values in a block along a row, and its bytes. */
  readonly block: number;
  readonly blockBytes: number;
  /** Bytes before the blocks of every row. */
  readonly rowHead?: number;
  /** Bytes of a block at which its fp16 scales and minimums stand. */
  readonly halves?: readonly number[];
  /** Bytes behind the last row, in which the whole matrix has something in common. */
  tail?(rows: number, columns: number): number;
  /** Whether native code packs it (`MatrixWriter`). */
  readonly native?: true;
  /** Of one with a tail: the format whose rows, packed one by one, `join` makes a matrix [rows, columns] of. */
  readonly single?: WeightFormat;
  join?(bytes: Uint8Array, shape: [rows: number, columns: number]): Uint8Array;
  /** Turns the bytes of rows of `columns` values (by default one row) into fp32. */
  decode(bytes: Uint8Array, count: number, columns?: number): Float32Array;
  /** Packs values [rows, columns], for formats that weights are turned into when they are loaded. */
  encode?(values: Float32Array, columns: number): Uint8Array;
}

/** The code of plain fp32: how native ops are told that a matrix is a tensor's. */
export const F32 = 0;

export const rowBytes = (format: WeightFormat, columns: number): number =>
  (columns / format.block) * format.blockBytes + (format.rowHead ?? 0);

/** Bytes of a matrix. */
export const matrixBytes = (format: WeightFormat, rows: number, columns: number): number =>
  rows * rowBytes(format, columns) + (format.tail?.(rows, columns) ?? 0);

/**
 * A frozen weight matrix [rows, columns], packed as its format says: a native handle on the native backend, bytes elsewhere,
 * never an fp32 copy that stays.
 */
export class Weight {
  private native?: Handle;
  private bytes?: Uint8Array;
  /** What products with it multiply, whatever the precision around them; undefined: that precision. */
  products?: Precision;
  /** LLM.int8()'s threshold, where what goes into its products outside of training is rounded to 8 bits too (`int8Inputs`). */
  inputThreshold?: number;
  /** Whether its rows stand in groups of 16, in the same memory: see `inGroups`. */
  private grouped = false;
  /** On a GPU, after its first use. */
  private unpacked?: tf.Tensor2D;

  constructor(
    readonly format: WeightFormat,
    readonly shape: [rows: number, columns: number],
    data: Uint8Array | Handle,
  ) {
    const [rows, columns] = shape;
    if (columns % format.block)
      throw new ShapeError(`${format.name} packs ${format.block} values along a row, which ${columns} columns do not divide into.`);
    const expected = matrixBytes(format, rows, columns);
    const given = data instanceof Handle ? data.bytes : data.byteLength;
    if (given !== expected) throw new ShapeError(`A ${format.name} weight of [${shape}] has ${expected} bytes, but ${given} were given.`);
    if (data instanceof Handle) this.native = data;
    else if (isNative()) this.native = Handle.create(data);
    else this.bytes = data;
  }

  /** How often a matrix has been turned back to rows: who needs groups again looks whether that has changed. */
  static turnedBack = 0;

  /** Its bytes on the native backend, row by row as the format says. */
  get handle(): Handle | undefined {
    if (this.grouped) {
      this.turn(true);
      Weight.turnedBack++;
    }
    return this.native;
  }

  /**
   * The same memory with 16 rows at a time side by side, as decoding reads it (native/groups.h), until somebody asks for `handle`; undefined
   * where its kind has no such order.
   */
  inGroups(): Handle | undefined {
    if (!this.native || !canBeGrouped(this.format.code)) return undefined;
    if (!this.grouped) this.turn(false);
    return this.native;
  }

  private turn(back: boolean): void {
    const [rows, columns] = this.shape;
    execute('TunebookGroup', [this.native as Handle], { kind: this.format.code, rows, columns, back: back ? 1 : 0 }, 0);
    this.grouped = !back;
  }

  /** One without values, for whoever asks for its size: it takes no memory, and where it is used after all its values are those of zeros. */
  static hollow(format: WeightFormat, shape: [rows: number, columns: number]): Weight {
    const weight = Object.assign(Object.create(Weight.prototype) as Weight, { format, shape });
    let zeros: Handle | undefined;
    const size = matrixBytes(format, ...shape);
    return Object.defineProperties(weight, {
      handle: {
        get() {
          if (isNative()) zeros ??= untouchedZeros(size);
          return zeros;
        },
      },
      packed: { value: () => new Uint8Array(size) },
      dispose: { value: () => zeros?.dispose() },
    });
  }

  get byteSize(): number {
    return matrixBytes(this.format, ...this.shape);
  }

  /** Its packed bytes (a copy on the native backend). */
  packed(): Uint8Array {
    return this.handle?.data() ?? (this.bytes as Uint8Array);
  }

  /** The whole matrix in fp32 [rows, columns]: for merging and for backends without kernels of our own. */
  dequantize(): tf.Tensor2D {
    const [rows, dim] = this.shape;
    const { handle } = this;
    if (!handle) {
      const decode = () => tf.tensor2d(this.format.decode(this.packed(), rows * dim, dim), this.shape);
      if (!isOnGpu()) return decode();
      this.unpacked ??= tf.keep(decode());
      return this.unpacked.clone();
    }
    const all = tf.range(0, rows, 1, 'int32');
    const [y] = execute('TunebookEmbedding', [all, handle], { kind: this.format.code, rows, dim }, 1);
    all.dispose();
    return y as tf.Tensor2D;
  }

  dispose(): void {
    this.native?.dispose();
    this.unpacked?.dispose();
    this.bytes = undefined;
  }
}

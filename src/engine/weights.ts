import { ShapeError } from '../core/errors';
import { execute, Handle, isNative } from './backend';
import * as tf from './tf';

/** How a frozen weight's bytes are laid out. `code` is GGUF's number of the type, which the native ops know it by. */
export interface WeightFormat {
  readonly name: string;
  readonly code: number;
  /** Values in a block, and its bytes. */
  readonly block: number;
  readonly blockBytes: number;
  /** Turns bytes into fp32. */
  decode(bytes: Uint8Array, count: number): Float32Array;
}

/**
 * A frozen weight matrix [rows, columns], packed as its format says: a native handle on the native backend, bytes elsewhere,
 * never an fp32 copy that stays.
 */
export class Weight {
  readonly handle?: Handle;
  private bytes?: Uint8Array;

  constructor(
    readonly format: WeightFormat,
    readonly shape: [rows: number, columns: number],
    data: Uint8Array,
  ) {
    const [rows, columns] = shape;
    if (columns % format.block)
      throw new ShapeError(`${format.name} packs ${format.block} values along a row, which ${columns} columns do not divide into.`);
    const expected = (rows * columns * format.blockBytes) / format.block;
    if (data.byteLength !== expected)
      throw new ShapeError(`A ${format.name} weight of [${shape}] has ${expected} bytes, but ${data.byteLength} were given.`);
    if (isNative()) this.handle = Handle.create(data);
    else this.bytes = data;
  }

  get byteSize(): number {
    return this.handle?.bytes ?? this.bytes?.byteLength ?? 0;
  }

  /** Its packed bytes (a copy on the native backend). */
  packed(): Uint8Array {
    return this.handle?.data() ?? (this.bytes as Uint8Array);
  }

  /** The whole matrix in fp32 [rows, columns]: for merging and for backends without kernels of our own. */
  dequantize(): tf.Tensor2D {
    const [rows, dim] = this.shape;
    if (!this.handle) return tf.tensor2d(this.format.decode(this.packed(), rows * dim), this.shape);
    const all = tf.range(0, rows, 1, 'int32');
    const [y] = execute('TunebookEmbedding', [all, this.handle], { kind: this.format.code, rows, dim }, 1);
    all.dispose();
    return y as tf.Tensor2D;
  }

  dispose(): void {
    this.handle?.dispose();
    this.bytes = undefined;
  }
}

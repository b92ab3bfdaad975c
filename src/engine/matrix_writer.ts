import { Handle, isNative } from './backend';
import { emptyBytes } from './ops/memory';
import { nestScales, packRows } from './ops/pack';
import * as tf from './tf';
import { matrixBytes, rowBytes, Weight, type WeightFormat } from './weights';

/**
 * A matrix that is packed while its rows come in, some at a time: on the native engine straight into the memory where it stays, so that
 * nothing larger than what is given at once is in memory beside it.
 */
export class MatrixWriter {
  private readonly handle?: Handle;
  private readonly scales?: tf.Tensor;
  private readonly parts: Uint8Array[] = [];
  private done = 0;

  constructor(
    private readonly format: WeightFormat,
    private readonly shape: [rows: number, columns: number],
  ) {
    const [rows, columns] = shape;
    if (!isNative() || !(format.native || !format.tail)) return;
    this.handle = emptyBytes(matrixBytes(format, rows, columns));
    // Not tf.zeros, whose values are made in JavaScript first and wait there for its collector.
    if (format.tail) this.scales = tf.keep(tf.fill([(rows * columns) / format.block], 0));
  }

  /** The next rows, `bytes` as another format has them. */
  add(bytes: Uint8Array, from: WeightFormat): void {
    const { format } = this;
    const [, columns] = this.shape;
    const rows = bytes.byteLength / rowBytes(from, columns);
    const first = this.done;
    this.done += rows;
    const native = this.handle && (from === format || format.native);
    const [given, as] =
      native || from === format ? [bytes, from] : [this.encode(from.decode(bytes, rows * columns, columns), columns), format];
    if (this.handle)
      packRows(this.handle, given, { kind: format.code, from: as.code, columns, first, rows, scales: this.scales ?? nothing() });
    else this.parts.push(given === bytes ? bytes.slice() : given);
  }

  private encode(values: Float32Array, columns: number): Uint8Array {
    const { encode } = this.format.single ?? this.format;
    if (!encode) throw new Error(`${this.format.name} is a format that is only read.`);
    return encode(values, columns);
  }

  /** The whole matrix. */
  finish(): Weight {
    const { format, shape, handle, scales } = this;
    if (this.done !== shape[0]) throw new Error(`A matrix of ${shape[0]} rows was given ${this.done}.`);
    if (handle) {
      if (scales) nestScales(handle, scales, format.code, shape);
      scales?.dispose();
      return new Weight(format, shape, handle);
    }
    const bytes = new Uint8Array(this.parts.reduce((sum, part) => sum + part.byteLength, 0));
    let at = 0;
    for (const part of this.parts) {
      bytes.set(part, at);
      at += part.byteLength;
    }
    return new Weight(format, shape, format.join?.(bytes, shape) ?? bytes);
  }

  /** Frees what there is of a matrix that will not be finished. */
  dispose(): void {
    this.handle?.dispose();
    this.scales?.dispose();
  }
}

let none: Handle | undefined;
function nothing(): Handle {
  none ??= Handle.constant(new Float32Array(0));
  return none;
}

import { MatrixWriter } from '../engine/matrix_writer';
import type { Weight, WeightFormat } from '../engine/weights';
import { f32 } from './kinds';

/** A matrix of these values, row by row, packed in a format. */
export function packedMatrix(
  { buffer, byteOffset, byteLength }: Float32Array,
  shape: [rows: number, columns: number],
  format: WeightFormat,
): Weight {
  const writer = new MatrixWriter(format, shape);
  try {
    writer.add(new Uint8Array(buffer, byteOffset, byteLength), f32);
    return writer.finish();
  } catch (error) {
    writer.dispose();
    throw error;
  }
}

import { warnOnce } from '../core/events';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { rowBytes, Weight } from '../engine/weights';
import { type Matrix, Parameter } from '../nn';
import { bf16 } from '../quantize';

/** The mean of a matrix's rows, in fp64 sums of pieces of it. [columns] */
function meanRow(matrix: Matrix): Float32Array {
  const [rows, columns] = matrix.shape;
  return tf.tidy(() => {
    const values = matrix instanceof Parameter ? (matrix.tensor as tf.Tensor2D) : matrix.dequantize();
    const sums = new Float64Array(columns);
    for (let from = 0; from < rows; from += 4096) {
      const part = tf.sum(tf.slice(values, [from, 0], [Math.min(4096, rows - from), columns]), 0).dataSync();
      for (let j = 0; j < columns; j++) sums[j] += part[j];
    }
    return Float32Array.from(sums, (sum) => sum / rows);
  });
}

/** Packed rows, with the mean of them behind, as often as is asked for; a kind that cannot be packed here becomes bf16. */
async function packed(weight: Weight, rows: number, mean: Float32Array): Promise<Weight> {
  const [before, columns] = weight.shape;
  const kept = Math.min(rows, before);
  const more = new Float32Array((rows - kept) * columns);
  for (let i = 0; i < rows - kept; i++) more.set(mean, i * columns);
  let { format } = weight;
  let old = weight.packed();
  if (rows > before && !format.encode) {
    warnOnce(`A table packed as ${format.name} takes no new rows: tunebook does not pack that kind. It is kept as ${bf16.name} now.`);
    format = bf16;
    old = (bf16.encode as NonNullable<typeof bf16.encode>)((await take(weight.dequantize())) as Float32Array, columns);
  }
  const bytes = rowBytes(format, columns);
  const data = new Uint8Array(rows * bytes);
  data.set(old.subarray(0, kept * bytes));
  if (more.length) data.set(format.encode?.(more, columns) as Uint8Array, kept * bytes);
  return new Weight(format, [rows, columns], data);
}

/**
 * A matrix with one row for each token, of so many: rows are cut off behind, or added as the mean of those that there are. (transformers
 * adds noise of 1e-9 of their variance to that.)
 */
export async function withRows(matrix: Matrix, rows: number): Promise<Matrix> {
  const [before, columns] = matrix.shape;
  const mean = rows > before ? meanRow(matrix) : new Float32Array(columns);
  if (!(matrix instanceof Parameter)) return packed(matrix, rows, mean);
  const tensor = tf.tidy(() => {
    const kept = tf.slice(matrix.tensor as tf.Tensor2D, [0, 0], [Math.min(rows, before), columns]);
    return tf.keep(rows > before ? tf.concat([kept, tf.tile(tf.tensor2d(mean, [1, columns]), [rows - before, 1])]) : kept.clone());
  });
  return new Parameter(tensor, matrix.requires_grad, matrix.turned);
}

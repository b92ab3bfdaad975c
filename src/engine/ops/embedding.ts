import { ShapeError } from '../../core/errors';
import { execute, type Handle, isNative } from '../backend';
import * as tf from '../tf';
import { rowBytes, type Weight } from '../weights';

/**
 * Rows of a frozen table: ids [...] of whole numbers -> [..., dim]. Nothing flows back: neither ids nor table are trained.
 */
export function embedding(ids: tf.Tensor, table: Weight): tf.Tensor {
  const [rows, dim] = table.shape;
  if (ids.dtype !== 'int32') throw new ShapeError(`embedding: ids must be int32, but are ${ids.dtype} [${ids.shape}].`);
  if (isNative()) return execute('TunebookEmbedding', [ids, table.handle as Handle], { kind: table.format.code, rows, dim }, 1)[0];
  const bytes = table.packed();
  const size = rowBytes(table.format, dim);
  const all = table.format.tail && table.format.decode(bytes, rows * dim, dim);
  const values = new Float32Array(ids.size * dim);
  ids.dataSync().forEach((id, i) => {
    if (id < 0 || id >= rows)
      throw new ShapeError(`embedding: token id ${id} is not in [0, ${rows}). Does the tokenizer belong to this model?`);
    const row = all?.subarray(id * dim, (id + 1) * dim) ?? table.format.decode(bytes.subarray(id * size, (id + 1) * size), dim);
    values.set(row, i * dim);
  });
  return tf.tensor(values, [...ids.shape, dim]);
}

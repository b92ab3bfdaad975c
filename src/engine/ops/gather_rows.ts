import * as tf from '../tf';

/**
 * Chosen rows of a matrix: x [rows, dim], places int32 [n], each at most once -> [n, dim]. tfjs's own gather needs a kernel for
 * its gradient that not every backend has.
 */
export function gatherRows(x: tf.Tensor2D, places: tf.Tensor1D): tf.Tensor2D {
  const run = tf.customGrad((rows) => ({
    value: tf.gather(rows as tf.Tensor, places),
    gradFunc: (dy: tf.Tensor) => tf.scatterND(tf.expandDims(places, 1), dy, x.shape),
  }));
  return run(x) as tf.Tensor2D;
}

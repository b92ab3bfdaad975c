import * as tf from '../tf';

/**
 * Chosen rows of a matrix: x [rows, dim], places int32 [n] -> [n, dim]. tfjs's own gather needs a kernel for
 * its gradient that not every backend has.
 */
export function gatherRows(x: tf.Tensor2D, places: tf.Tensor1D): tf.Tensor2D {
  const run = tf.customGrad((...args) => {
    const save = args.pop() as unknown as (tensors: tf.Tensor[]) => void;
    save([places]);
    return {
      value: tf.gather(args[0] as tf.Tensor, places),
      gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => tf.scatterND(tf.expandDims(saved, 1), dy, x.shape),
    };
  });
  return run(x) as tf.Tensor2D;
}

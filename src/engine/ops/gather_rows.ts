import { execute } from '../backend';
import { taped } from '../tape';
import * as tf from '../tf';

/**
 * Chosen rows of a matrix: x [rows, dim], places int32 [n] -> [n, dim]. The gradient of a matrix that has one already (a tied
 * embedding's, from the vocabulary head) is added to in place: another of its size would be zero almost everywhere. The gradient of
 * tfjs's own gather needs a kernel that not every backend has.
 */
export function gatherRows(x: tf.Tensor2D, places: tf.Tensor1D): tf.Tensor2D {
  const forward = () => ({ y: tf.gather(x, places), save: [places] });
  return taped('GatherRows', { x }, forward, (dy, [saved]) => ({
    x: (sum) => {
      if (!sum) return tf.scatterND(tf.expandDims(saved, 1), dy, x.shape);
      execute('TunebookAddRows', [sum, saved, dy], {}, 0);
      return sum;
    },
  })) as tf.Tensor2D;
}

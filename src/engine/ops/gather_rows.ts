import { execute } from '../backend';
import { taped } from '../tape';
import * as tf from '../tf';

/** dy [n, dim] with zeros in the rows of place `still`. */
export function withoutPlace(dy: tf.Tensor, places: tf.Tensor, still: number | undefined): tf.Tensor {
  return still === undefined ? dy : tf.mul(dy, tf.cast(tf.expandDims(tf.notEqual(places, still), 1), 'float32'));
}

/**
 * Chosen rows of a matrix: x [rows, dim], places int32 [n] -> [n, dim]. Row `still` gets no gradient. The gradient of a matrix that has one already (a tied
 * embedding's, from the vocabulary head) is added to in place: another of its size would be zero almost everywhere. The gradient of
 * tfjs's own gather needs a kernel that not every backend has.
 */
export function gatherRows(x: tf.Tensor2D, places: tf.Tensor1D, still?: number): tf.Tensor2D {
  const forward = () => ({ y: tf.gather(x, places), save: [places] });
  return taped('GatherRows', { x }, forward, (dy, [saved]) => ({
    x: (sum) => {
      const rows = withoutPlace(dy, saved, still);
      if (!sum) return tf.scatterND(tf.expandDims(saved, 1), rows, x.shape);
      execute('TunebookAddRows', [sum, saved, rows], {}, 0);
      return sum;
    },
  })) as tf.Tensor2D;
}

import { taped } from '../tape';
import * as tf from '../tf';
import { withoutPlace } from './gather_rows';

/** Chosen columns of a matrix as rows: x [rows, columns], places int32 [n] -> [n, rows]. Column `still` gets no gradient. */
export function gatherColumns(x: tf.Tensor2D, places: tf.Tensor1D, still?: number): tf.Tensor2D {
  const forward = () => ({ y: tf.transpose(tf.gather(x, places, 1)), save: [places] });
  return taped('GatherColumns', { x }, forward, (dy, [saved]) => ({
    x: () => tf.transpose(tf.scatterND(tf.expandDims(saved, 1), withoutPlace(dy, saved, still), [x.shape[1], x.shape[0]])),
  })) as tf.Tensor2D;
}

import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';

/**
 * A product with a trained matrix: y = x W^T
 * x [..., in], weight [out, in] -> [..., out]. Both get gradients; for a frozen weight there is `linear`.
 */
export const dense = fusedOp<{ x: tf.Tensor; weight: tf.Tensor }>({
  name: 'Dense',
  inputs: ['x', 'weight'],
  check({ x, weight }) {
    if (weight.rank !== 2 || x.shape[x.rank - 1] !== weight.shape[1])
      throw new ShapeError(`dense: the last dimension of x [${x.shape}] and of the weight [${weight.shape}] differ.`);
  },
  reference({ x, weight }) {
    const y = tf.matMul(tf.reshape(x, [-1, weight.shape[1] as number]), weight as tf.Tensor2D, false, true);
    return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[0]]);
  },
  native: {
    forward: ({ x, weight }) => ({ y: execute('TunebookDense', [x, weight], precisionAttribute(), 1)[0], save: [x, weight] }),
    backward: (dy, [x, weight]) => execute('TunebookDenseGrad', [x, weight, dy], precisionAttribute(), 2),
  },
});

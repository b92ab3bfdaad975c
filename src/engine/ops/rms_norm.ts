import { ShapeError } from '../../core/errors';
import { execute, executeGradients } from '../backend';
import { fusedOp } from '../fused_op';
import * as tf from '../tf';

/**
 * Root mean square norm (Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467).
 *   y = x / sqrt(mean(x^2) + eps) * weight
 * x [..., dim], weight [dim] -> [..., dim]
 */
export const rmsNorm = fusedOp<{ x: tf.Tensor; weight: tf.Tensor }, { eps: number }>({
  name: 'RmsNorm',
  inputs: ['x', 'weight'],
  check({ x, weight }) {
    if (weight.rank !== 1 || x.shape[x.rank - 1] !== weight.shape[0])
      throw new ShapeError(`rmsNorm: the last dimension of x [${x.shape}] and weight [${weight.shape}] differ.`);
  },
  reference({ x, weight }, { eps }) {
    const meanSquare = tf.mean(tf.square(x), -1, true); // [..., 1]
    return tf.mul(tf.mul(x, tf.rsqrt(tf.add(meanSquare, eps))), weight);
  },
  native: {
    forward({ x, weight }, { eps }) {
      const [y] = execute('TunebookRmsNorm', [x, weight], { eps: { float: eps } }, 1);
      return { y, save: [x, weight] };
    },
    backward: (dy, [x, weight], { eps }, { wanted }) =>
      executeGradients('TunebookRmsNormGrad', [x, weight, dy], { eps: { float: eps } }, wanted),
  },
});

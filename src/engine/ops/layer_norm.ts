import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import * as tf from '../tf';

/**
 * Layer normalisation (Ba et al., 2016, https://arxiv.org/abs/1607.06450).
 *   y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias
 * x [..., dim], weight [dim], bias [dim] -> [..., dim]
 */
export const layerNorm = fusedOp<{ x: tf.Tensor; weight: tf.Tensor; bias: tf.Tensor }, { eps: number }>({
  name: 'LayerNorm',
  inputs: ['x', 'weight', 'bias'],
  check({ x, weight, bias }) {
    const dim = x.shape[x.rank - 1];
    if (weight.rank !== 1 || bias.rank !== 1 || weight.shape[0] !== dim || bias.shape[0] !== dim)
      throw new ShapeError(`layerNorm: the last dimension of x [${x.shape}] and weight [${weight.shape}] or bias [${bias.shape}] differ.`);
  },
  reference({ x, weight, bias }, { eps }) {
    const centred = tf.sub(x, tf.mean(x, -1, true));
    const variance = tf.mean(tf.square(centred), -1, true); // [..., 1]
    return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, eps))), weight), bias);
  },
  native: {
    forward({ x, weight, bias }, { eps }) {
      const [y] = execute('TunebookLayerNorm', [x, weight, bias], { eps: { float: eps } }, 1);
      return { y, save: [x, weight] };
    },
    backward: (dy, [x, weight], { eps }) => execute('TunebookLayerNormGrad', [x, weight, dy], { eps: { float: eps } }, 3),
  },
});

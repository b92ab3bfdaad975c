import { ShapeError } from '../../core/errors';
import { execute, type Handle } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';
import { F32, Weight } from '../weights';

type Inputs = { x: tf.Tensor };
/** `weight`: packed, or fp32 in a tensor; it gets no gradient. */
type Attributes = { weight: Weight | tf.Tensor; labels: tf.Tensor; gradient: boolean };

/**
 * Cross-entropy of the logits x W^T with whole-number labels, each row's apart, without the logits in memory (the head's
 * vocabulary passes by in blocks; the idea of Liger kernels, https://arxiv.org/abs/2410.10989).
 * x [rows, dim], W [vocabulary, dim], labels int32 [rows] -> [rows]. `gradient: false` skips what only training needs.
 */
export const linearCrossEntropy = fusedOp<Inputs, Attributes>({
  name: 'LinearCrossEntropy',
  inputs: ['x'],
  check({ x }, { weight, labels }) {
    if (x.rank !== 2 || x.shape[1] !== weight.shape[1] || labels.shape[0] !== x.shape[0] || labels.dtype !== 'int32')
      throw new ShapeError(
        `linearCrossEntropy: x [${x.shape}] and ${labels.dtype} labels [${labels.shape}] do not fit a weight of [${weight.shape}].`,
      );
  },
  reference({ x }, { weight, labels }) {
    const logits = tf.matMul(x as tf.Tensor2D, weight instanceof Weight ? weight.dequantize() : (weight as tf.Tensor2D), false, true);
    const target = tf.sum(tf.mul(logits, tf.oneHot(labels as tf.Tensor1D, weight.shape[0])), -1);
    return tf.sub(tf.logSumExp(logits, -1), target);
  },
  native: {
    forward({ x }, { weight, labels, gradient }) {
      const [y, dx] = execute(
        'TunebookLinearCrossEntropy',
        [x, weight instanceof Weight ? (weight.handle as Handle) : weight, labels],
        {
          kind: weight instanceof Weight ? weight.format.code : F32,
          vocabulary: weight.shape[0],
          gradient: gradient ? 1 : 0,
          ...precisionAttribute(),
        },
        2,
      );
      return { y, save: [dx] };
    },
    backward: (dy, [dx]) => [tf.mul(dx, tf.expandDims(dy, 1))],
  },
});

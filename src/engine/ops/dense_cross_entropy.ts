import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';

type Inputs = { x: tf.Tensor; weight: tf.Tensor };
type Attributes = { labels: tf.Tensor };

/**
 * Cross-entropy of the logits x W^T with whole-number labels, each row's apart, for a trained W: as linearCrossEntropy, never
 * [rows, vocabulary] in memory; the backward pass makes the logits a second time.
 * x [rows, dim], weight [vocabulary, dim], labels int32 [rows] -> [rows]
 */
export const denseCrossEntropy = fusedOp<Inputs, Attributes>({
  name: 'DenseCrossEntropy',
  inputs: ['x', 'weight'],
  check({ x, weight }, { labels }) {
    if (x.rank !== 2 || weight.rank !== 2 || x.shape[1] !== weight.shape[1] || labels.shape[0] !== x.shape[0] || labels.dtype !== 'int32')
      throw new ShapeError(
        `denseCrossEntropy: x [${x.shape}] and ${labels.dtype} labels [${labels.shape}] do not fit a weight of [${weight.shape}].`,
      );
  },
  reference({ x, weight }, { labels }) {
    const logits = tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D, false, true);
    const target = tf.sum(tf.mul(logits, tf.oneHot(labels as tf.Tensor1D, weight.shape[0])), -1);
    return tf.sub(tf.logSumExp(logits, -1), target);
  },
  native: {
    forward({ x, weight }, { labels }) {
      const [y, lse] = execute('TunebookDenseCrossEntropy', [x, weight, labels], precisionAttribute(), 2);
      return { y, save: [x, weight, labels, lse] };
    },
    backward: (dy, saved) => execute('TunebookDenseCrossEntropyGrad', [...saved, dy], precisionAttribute(), 2),
  },
});

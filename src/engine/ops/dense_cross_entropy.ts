import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';

type Inputs = { x: tf.Tensor; weight: tf.Tensor };
type Attributes = { labels: tf.Tensor; factor: number };

/**
 * `factor` times the sum of the cross-entropies of the logits x W^T with whole-number labels, for a trained W. As in
 * linearCrossEntropy there are never logits of all rows in memory, and gradients are ready when the loss is: so what scales each
 * row's loss must be known by then.
 * x [rows, dim], weight [vocabulary, dim], labels int32 [rows] -> []
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
  reference({ x, weight }, { labels, factor }) {
    const logits = tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D, false, true);
    const target = tf.sum(tf.mul(logits, tf.oneHot(labels as tf.Tensor1D, weight.shape[0])), -1);
    return tf.mul(tf.sum(tf.sub(tf.logSumExp(logits, -1), target)), factor);
  },
  native: {
    forward({ x, weight }, { labels, factor }) {
      const attributes = { factor: { float: factor }, ...precisionAttribute() };
      const [y, ...save] = execute('TunebookDenseCrossEntropy', [x, weight, labels], attributes, 3);
      return { y, save };
    },
    backward(dy, gradients) {
      const [by] = dy.dataSync();
      return by === 1 ? gradients : gradients.map((gradient) => tf.mul(gradient, by));
    },
  },
});

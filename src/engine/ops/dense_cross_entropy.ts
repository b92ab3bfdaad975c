import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { checkHead, type HeadAttributes, type HeadInputs, headLosses, nativeHead } from '../head';
import * as tf from '../tf';

/** The sum of a head's losses times `factors` [1] or [rows], its gradients (of x, of the matrix where it is trained, of u and b), and figures. */
export function nativeDense(given: HeadInputs, head: HeadAttributes, factors: tf.Tensor) {
  const { inputs, attributes } = nativeHead(given, head);
  const made = execute('TunebookDenseCrossEntropy', [...inputs, factors], { ...attributes, trained: given.weight ? 1 : 0 }, 6);
  return { y: made[0], gradients: made.slice(1, 5), figures: made[5] as tf.Tensor1D };
}

/**
 * `factor` times the sum of the cross-entropies of a head that is trained: its matrix, a low-rank pair beside it, or both (see
 * HeadInputs). As in linearCrossEntropy there are never logits of all rows in memory, and gradients are ready when the loss is: so the
 * factor must be known by then (`denseLosses` gives each row's loss, to be gone on with).
 * x [rows, dim], W [vocabulary, dim], labels int32 [rows], u [rows, rank], b [vocabulary, rank] -> []
 */
export const denseCrossEntropy = fusedOp<HeadInputs, HeadAttributes & { factor: number }>({
  name: 'DenseCrossEntropy',
  inputs: ['x', 'weight', 'u', 'b'],
  check: (given, attributes) => checkHead('denseCrossEntropy', given, attributes),
  reference: (given, head) => tf.mul(tf.sum(headLosses(given, head)), head.factor),
  native: {
    forward(given, head) {
      const { y, gradients: save, figures } = nativeDense(given, head, tf.tensor1d([head.factor]));
      head.figures?.(tf.keep(figures));
      return { y, save };
    },
    backward(dy, gradients) {
      const [by] = dy.dataSync();
      return by === 1 ? gradients : gradients.map((gradient) => tf.mul(gradient, by));
    },
  },
});

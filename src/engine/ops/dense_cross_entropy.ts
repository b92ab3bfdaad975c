import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { checkHead, type HeadAttributes, type HeadInputs, headLosses, nativeHead } from '../head';
import * as tf from '../tf';

/**
 * `factor` times the sum of the cross-entropies of a head that is trained: its matrix, a low-rank pair beside it, or both (see
 * HeadInputs). As in linearCrossEntropy there are never logits of all rows in memory, and gradients are ready when the loss is: so what
 * scales each row's loss must be known by then.
 * x [rows, dim], W [vocabulary, dim], labels int32 [rows], u [rows, rank], b [vocabulary, rank] -> []
 */
export const denseCrossEntropy = fusedOp<HeadInputs, HeadAttributes & { factor: number }>({
  name: 'DenseCrossEntropy',
  inputs: ['x', 'weight', 'u', 'b'],
  check: (given, attributes) => checkHead('denseCrossEntropy', given, attributes),
  reference: (given, head) => tf.mul(tf.sum(headLosses(given, head)), head.factor),
  native: {
    forward(given, head) {
      const { inputs, attributes } = nativeHead(given, head);
      const own = { factor: { float: head.factor }, trained: given.weight ? 1 : 0 };
      const [y, ...save] = execute('TunebookDenseCrossEntropy', inputs, { ...attributes, ...own }, 5);
      return { y, save };
    },
    backward(dy, gradients) {
      const [by] = dy.dataSync();
      return by === 1 ? gradients : gradients.map((gradient) => tf.mul(gradient, by));
    },
  },
});

import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { checkHead, type HeadAttributes, type HeadInputs, headLosses, nativeHead } from '../head';
import * as tf from '../tf';
import { nativeDense } from './dense_cross_entropy';

/**
 * Each row's cross-entropy of a head that is trained (see HeadInputs), for losses made of several rows' in other ways than their sum:
 * pairs of texts, say. No logits of all rows are in memory here either; what each row's loss counts for is known in the backward pass
 * alone, so the head is run again there.
 * x [rows, dim], W [vocabulary, dim], labels int32 [rows], u [rows, rank], b [vocabulary, rank] -> [rows]
 */
export const denseLosses = fusedOp<HeadInputs, HeadAttributes>({
  name: 'DenseLosses',
  inputs: ['x', 'weight', 'u', 'b'],
  check: (given, attributes) => checkHead('denseLosses', given, attributes),
  reference: headLosses,
  native: {
    keepsInputs: true,
    forward(given, head) {
      const { inputs, attributes } = nativeHead(given, head);
      const [y, , figures] = execute('TunebookLinearCrossEntropy', inputs, { ...attributes, gradient: 0 }, 3);
      head.figures?.(tf.keep(figures) as tf.Tensor1D);
      return { y, save: [head.labels] };
    },
    backward(dy, [labels], head, { inputs }) {
      return nativeDense(inputs, { ...head, labels }, dy).gradients;
    },
  },
});

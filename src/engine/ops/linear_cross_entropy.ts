import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { checkHead, type HeadAttributes, type HeadInputs, headLosses, nativeHead } from '../head';
import * as tf from '../tf';

/** `gradient`: of x, which is made with the loss; not to be had beside a low-rank pair (denseCrossEntropy gives that). */
type Attributes = HeadAttributes & { gradient: boolean };

/**
 * Cross-entropy of the logits of a frozen head (see HeadInputs) with whole-number labels, each row's apart, without the logits in
 * memory (the head's vocabulary passes by in blocks; the idea of Liger kernels, https://arxiv.org/abs/2410.10989).
 * x [rows, dim], W [vocabulary, dim], labels int32 [rows] -> [rows]
 */
export const linearCrossEntropy = fusedOp<HeadInputs, Attributes>({
  name: 'LinearCrossEntropy',
  inputs: ['x', 'u', 'b'],
  check(given, attributes) {
    checkHead('linearCrossEntropy', given, attributes);
    if (!attributes.frozen || (attributes.gradient && given.u))
      throw new ShapeError('linearCrossEntropy gives no gradients of a head; denseCrossEntropy does.');
  },
  reference: headLosses,
  native: {
    forward(given, head) {
      const { inputs, attributes } = nativeHead(given, head);
      const [y, dx, figures] = execute('TunebookLinearCrossEntropy', inputs, { ...attributes, gradient: head.gradient ? 1 : 0 }, 3);
      head.figures?.(tf.keep(figures) as tf.Tensor1D);
      return { y, save: [dx] };
    },
    backward: (dy, [dx]) => [tf.mul(dx, tf.expandDims(dy, 1)), null, null],
  },
});

import { ShapeError } from '../../core/errors';
import { fusedOp } from '../fused_op';
import { sum } from '../sum';
import * as tf from '../tf';

/** A residual connection: a + b, both [...] of one shape. tfjs's own add keeps both for its backward pass; this keeps nothing. */
export const add = fusedOp<{ a: tf.Tensor; b: tf.Tensor }>({
  name: 'Add',
  inputs: ['a', 'b'],
  check({ a, b }) {
    if (a.shape.join() !== b.shape.join()) throw new ShapeError(`add: a [${a.shape}] and b [${b.shape}] must have the same shape.`);
  },
  reference: ({ a, b }) => tf.add(a, b),
  native: {
    forward: ({ a, b }) => ({ y: sum(a, b), save: [] }),
    backward: (dy) => [dy, dy],
  },
});

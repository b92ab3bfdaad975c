import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import * as tf from '../tf';

/**
 * The gate of a gated linear unit (Shazeer, 2020, https://arxiv.org/abs/2002.05202): y = gate * sigmoid(gate) * up
 * gate [...], up [...] -> [...]
 */
export const swiglu = fusedOp<{ gate: tf.Tensor; up: tf.Tensor }>({
  name: 'Swiglu',
  inputs: ['gate', 'up'],
  check({ gate, up }) {
    if (gate.shape.join() !== up.shape.join())
      throw new ShapeError(`swiglu: gate [${gate.shape}] and up [${up.shape}] must have the same shape.`);
  },
  reference: ({ gate, up }) => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up),
  native: {
    forward({ gate, up }) {
      const [y] = execute('TunebookSwiglu', [gate, up], {}, 1);
      return { y, save: [gate, up] };
    },
    backward: (dy, [gate, up]) => execute('TunebookSwigluGrad', [gate, up, dy], {}, 2),
  },
});

import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import * as tf from '../tf';

/**
 * The gate of a gated linear unit with GELU (Shazeer, 2020, https://arxiv.org/abs/2002.05202): y = gelu(gate) * up. `tanh`
 * takes GELU's approximation (transformers' 'gelu_pytorch_tanh'); without it the normal distribution itself ('gelu').
 * gate [...], up [...] -> [...]
 */
export const geglu = fusedOp<{ gate: tf.Tensor; up: tf.Tensor }, { tanh: boolean }>({
  name: 'Geglu',
  inputs: ['gate', 'up'],
  check({ gate, up }) {
    if (gate.shape.join() !== up.shape.join())
      throw new ShapeError(`geglu: gate [${gate.shape}] and up [${up.shape}] must have the same shape.`);
  },
  reference({ gate, up }, { tanh }) {
    const inner = tanh
      ? tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(gate, tf.mul(0.044715, tf.pow(gate, 3)))))
      : tf.erf(tf.mul(gate, Math.SQRT1_2));
    return tf.mul(tf.mul(tf.mul(0.5, gate), tf.add(1, inner)), up);
  },
  native: {
    forward({ gate, up }, { tanh }) {
      const [y] = execute('TunebookGeglu', [gate, up], { tanh: Number(tanh) }, 1);
      return { y, save: [gate, up] };
    },
    backward: (dy, [gate, up], { tanh }) => execute('TunebookGegluGrad', [gate, up, dy], { tanh: Number(tanh) }, 2),
  },
});

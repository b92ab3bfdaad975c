import * as tf from '../../engine/tf';
import type { OptimizerKind } from './optimizer';

/** Stochastic gradient descent as PyTorch steps, with momentum where `optim_args` says so; weight decay is a part of the gradient. */
export const sgd = {
  names: { sgd: { eightBit: false } },
  args: { momentum: 0, dampening: 0, nesterov: false },
  slots: (shape, { momentum }) => (momentum ? [{ name: 'momentum_buffer', shape, signed: true }] : []),
  apply(entries, { lr, step, factor, weight_decay }, _, { momentum, dampening, nesterov }) {
    for (const { parameter, gradient, states } of entries) {
      const [next, moved] = tf.tidy((): tf.Tensor[] => {
        const g = tf.add(tf.mul(gradient, factor), tf.mul(parameter.tensor, weight_decay));
        if (!states.length) return [tf.sub(parameter.tensor, tf.mul(g, lr))];
        const kept = Number(momentum);
        const buffer = step === 1 ? g : tf.add(tf.mul(states[0].full, kept), tf.mul(g, 1 - Number(dampening)));
        const by = nesterov ? tf.add(g, tf.mul(buffer, kept)) : buffer;
        return [tf.sub(parameter.tensor, tf.mul(by, lr)), buffer];
      });
      parameter.assign(tf.keep(next));
      if (moved) states[0].write(moved);
    }
  },
} satisfies OptimizerKind;

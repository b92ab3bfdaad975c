import * as tf from '../../engine/tf';
import type { OptimizerKind } from './optimizer';

const fp32 = { eightBit: false };
const packed = { eightBit: true };

/**
 * Lion (Chen et al., 2023, https://arxiv.org/abs/2302.06675) as bitsandbytes steps: every value moves by the rate, in the direction of
 * its momentum. Rates are a third to a tenth of AdamW's.
 */
export const lion = {
  names: { lion_32bit: fp32, paged_lion_32bit: { ...fp32, paged: true }, lion_8bit: packed, paged_lion_8bit: { ...packed, paged: true } },
  slots: (shape) => [{ name: 'exp_avg', shape, signed: true }],
  apply(entries, { lr, factor, weight_decay }, { adam_beta1: beta1, adam_beta2: beta2 }) {
    for (const { parameter, gradient, states } of entries) {
      const [next, kept] = tf.tidy(() => {
        const g = tf.mul(gradient, factor);
        const before = states[0].read();
        const direction = tf.sign(tf.add(tf.mul(before, beta1), tf.mul(g, 1 - beta1)));
        const decayed = tf.mul(parameter.tensor, 1 - lr * weight_decay);
        return [tf.sub(decayed, tf.mul(direction, lr)), tf.add(tf.mul(before, beta2), tf.mul(g, 1 - beta2))];
      });
      parameter.assign(tf.keep(next));
      states[0].write(kept);
    }
  },
} satisfies OptimizerKind;

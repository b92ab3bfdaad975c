import * as tf from '../../engine/tf';
import type { Entry, OptimizerKind, Step } from './optimizer';

const DECAY = -0.8;
const TINY = 1e-30;
const CLIP = 1;

const rootMeanSquare = (x: tf.Tensor): tf.Tensor => tf.sqrt(tf.mean(tf.square(x)));

/**
 * Adafactor (Shazeer and Stern, 2018, https://arxiv.org/abs/1804.04235) as transformers' Trainer sets it: the schedule's rate as it is
 * (no relative step, no scaling by the parameter), no first moment. The second moments of a matrix are kept as those of its rows and
 * columns: out + in values instead of out * in.
 */
export const adafactor = {
  names: { adafactor: { eightBit: false } },
  slots: (shape) =>
    shape.length < 2
      ? [{ name: 'exp_avg_sq', shape, signed: false }]
      : [
          { name: 'exp_avg_sq_row', shape: shape.slice(0, -1), signed: false },
          { name: 'exp_avg_sq_col', shape: [...shape.slice(0, -2), ...shape.slice(-1)], signed: false },
        ],
  apply(entries, step) {
    for (const entry of entries) applyOne(entry, step);
  },
} satisfies OptimizerKind;

function applyOne({ parameter, gradient, states }: Entry, { lr, step, factor, weight_decay }: Step): void {
  const keep = 1 - step ** DECAY;
  const [next, ...remembered] = tf.tidy(() => {
    const g = tf.mul(gradient, factor);
    const squares = tf.add(tf.square(g), TINY);
    const axes = states.length === 1 ? [undefined] : [-1, -2];
    const moments = states.map((state, i) => {
      const now = axes[i] === undefined ? squares : tf.mean(squares, axes[i]);
      return tf.add(tf.mul(state.full, keep), tf.mul(now, 1 - keep));
    });
    const [rows, columns] = moments;
    const scale =
      states.length === 1
        ? tf.rsqrt(rows)
        : tf.mul(tf.expandDims(tf.rsqrt(tf.div(rows, tf.mean(rows, -1, true))), -1), tf.expandDims(tf.rsqrt(columns), -2));
    const update = tf.mul(g, scale);
    const clipped = tf.div(update, tf.maximum(tf.div(rootMeanSquare(update), CLIP), 1));
    return [tf.sub(tf.mul(parameter.tensor, 1 - lr * weight_decay), tf.mul(clipped, lr)), ...moments];
  });
  parameter.assign(tf.keep(next));
  for (const [i, state] of states.entries()) state.write(remembered[i]);
}

import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import * as tf from '../tf';

/** "lowbias32" by Chris Wellons: https://nullprogram.com/blog/2018/07/31/ */
function hash(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/**
 * Dropout (Srivastava et al., 2014) whose mask depends on seed and place alone: a resumed run draws the same masks, on
 * every backend. x [...] -> [...], rate in [0, 1), seed a 32-bit whole number.
 */
export const dropout = fusedOp<{ x: tf.Tensor }, { rate: number; seed: number }>({
  name: 'Dropout',
  inputs: ['x'],
  check(_, { rate }) {
    if (!(rate >= 0 && rate < 1)) throw new ShapeError(`dropout: rate must be in [0, 1), but is ${rate}.`);
  },
  reference({ x }, { rate, seed }) {
    const key = hash(seed);
    const threshold = Math.floor(rate * 4294967296);
    const mask = Float32Array.from({ length: x.size }, (_, i) => (hash((i ^ key) >>> 0) < threshold ? 0 : Math.fround(1 / (1 - rate))));
    return tf.mul(x, tf.tensor(mask, x.shape));
  },
  native: {
    forward({ x }, attributes) {
      return { y: apply(x, attributes), save: [] };
    },
    backward: (dy, _, attributes) => [apply(dy, attributes)],
  },
});

function apply(x: tf.Tensor, { rate, seed }: { rate: number; seed: number }): tf.Tensor {
  return execute('TunebookDropout', [x, tf.tensor1d([seed | 0], 'int32')], { rate: { float: rate } }, 1)[0];
}

import * as tf from '../engine/tf';
import { exercise } from './exercise';

type Merge = (w: tf.Tensor2D, a: tf.Tensor2D, b: tf.Tensor2D, scale: number) => tf.Tensor;

const close = (x: tf.Tensor, y: tf.Tensor): boolean =>
  x.shape.join() === y.shape.join() && tf.tidy(() => tf.max(tf.abs(tf.sub(x, y))).dataSync()[0] < 1e-4);

/** Mistakes that give a matrix of the right shape. */
const WRONG: [merge: Merge, why: string][] = [
  [(w) => w, 'that is the frozen weight alone: the update is missing.'],
  [(_, a, b, scale) => tf.mul(scale, tf.matMul(b, a)), 'that is the update alone: the frozen weight W is missing.'],
  [(w, a, b) => tf.add(w, tf.matMul(b, a)), 'the update is not scaled: `lora_alpha / r` stands before it.'],
  [
    (w, a, b, scale) => tf.sub(w, tf.mul(scale, tf.matMul(b, a))),
    'the update is added, not taken away: training has its sign in A and B already.',
  ],
  [
    (w, a, b, scale) => tf.mul(scale, tf.add(w, tf.matMul(b, a))),
    'the scale belongs to the update alone; the frozen weight keeps its size.',
  ],
  [(w, a, b, scale) => tf.add(w, tf.mul(scale * scale, tf.matMul(b, a))), 'the scale stands there twice.'],
];

/** W' = W + scale B A. */
export const mergedWeight = exercise<Merge>({
  takes: 'a function `(w, a, b, scale) => tensor`: w is [out, in], a is [r, in], b is [out, r]',
  hint: 'Which product of A and B has the shape of W? `tf.matMul` multiplies matrices, `tf.mul` by a number, `tf.add` adds.',
  solution:
    '```\nconst merged = (w, a, b, scale) => tf.add(w, tf.mul(scale, tf.matMul(b, a)));\n```\nB A is [out, r] times [r, in], so [out, in] like W: once it is added, nothing is left beside the layer, and an answer takes no longer than before.',
  because: "W' = W + (lora_alpha / r) B A: the adapter is in the matrix now and costs nothing when the model answers.",
  lacks(answer) {
    if (typeof answer !== 'function') return `an answer is a function, but this is ${typeof answer}.`;
    return tf.tidy(() => {
      const w = tf.tensor2d([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [3, 4]);
      const a = tf.tensor2d([0.5, -1, 2, 0.25, 1, 1.5, -0.5, 3], [2, 4]);
      const b = tf.tensor2d([1, 2, -1, 0.5, 3, -2], [3, 2]);
      let said: tf.Tensor;
      try {
        said = answer(w, a, b, 2.5);
      } catch (error) {
        return /matMul|shape/i.test((error as Error).message)
          ? `its product does not fit: ${(error as Error).message}. B is [3, 2] and A is [2, 4]; W is [3, 4].`
          : `the function ended with an error: ${(error as Error).message}`;
      }
      if (!(said instanceof tf.Tensor)) return 'the function must return a tensor.';
      if (close(said, tf.add(w, tf.mul(2.5, tf.matMul(b, a))))) return undefined;
      const known = WRONG.find(([merge]) => close(said, merge(w, a, b, 2.5)));
      return (
        known?.[1] ?? `for w [3, 4], a [2, 4], b [3, 2] and scale 2.5 it gives ${said.shape.join(' x ')} other values than W + scale B A.`
      );
    });
  },
});

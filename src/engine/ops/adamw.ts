import { execute, isNative } from '../backend';
import * as tf from '../tf';

export interface AdamWHyper {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weight_decay: number;
  /** Steps taken, this one included. */
  step: number;
  /** What gradients are multiplied by first (clipping). */
  factor: number;
}

/** A trained tensor, its gradient and its two moments, all of one shape. */
export interface AdamWState {
  p: tf.Tensor;
  g: tf.Tensor;
  m: tf.Tensor;
  v: tf.Tensor;
}

/**
 * One AdamW step (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) of many tensors, in the order of PyTorch's:
 * decay, moments, p -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps).
 * Returns p, m and v of each: the same tensors, changed in place, on the native engine, new ones elsewhere.
 */
export function adamwStep(states: AdamWState[], hyper: AdamWHyper): Omit<AdamWState, 'g'>[] {
  const { lr, beta1, beta2, eps, weight_decay, step, factor } = hyper;
  const corrections = [1 - beta1 ** step, 1 - beta2 ** step];
  if (!states.length) return [];
  if (isNative()) {
    const list = (key: keyof AdamWState) => states.map((state) => state[key]);
    tf.tidy(() => {
      const numbers = tf.tensor1d([lr, beta1, beta2, eps, weight_decay, ...corrections, factor]);
      execute('TunebookAdamW', [...list('p'), ...list('g'), ...list('m'), ...list('v'), numbers], { N: states.length }, 0);
    });
    return states;
  }
  return states.map(({ p, g, m, v }) =>
    tf.tidy(() => {
      const gradient = tf.mul(g, factor);
      const newM = tf.add(tf.mul(m, beta1), tf.mul(gradient, 1 - beta1));
      const newV = tf.add(tf.mul(v, beta2), tf.mul(tf.square(gradient), 1 - beta2));
      const denominator = tf.add(tf.div(tf.sqrt(newV), Math.sqrt(corrections[1])), eps);
      const newP = tf.sub(tf.mul(p, 1 - lr * weight_decay), tf.mul(tf.div(newM, denominator), lr / corrections[0]));
      return { p: newP, m: newM, v: newV };
    }),
  );
}

/** The Euclidean norm of all tensors together, summed in double precision in a fixed order. */
export function globalNorm(tensors: tf.Tensor[]): number {
  if (isNative()) {
    const [squares] = execute('TunebookSumOfSquares', tensors, { N: tensors.length }, 1);
    const [total] = squares.dataSync();
    squares.dispose();
    return Math.sqrt(total);
  }
  return Math.sqrt(tensors.reduce((total, tensor) => total + tf.tidy(() => tf.sum(tf.square(tensor))).dataSync()[0], 0));
}

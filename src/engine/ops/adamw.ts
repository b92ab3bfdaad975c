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

/**
 * One AdamW step (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) of one tensor, in the order of PyTorch's:
 * decay, moments, p -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps).
 * p, g, m, v [...] -> new [p, m, v]; the caller disposes the old ones.
 */
export function adamwStep(p: tf.Tensor, g: tf.Tensor, m: tf.Tensor, v: tf.Tensor, hyper: AdamWHyper): [tf.Tensor, tf.Tensor, tf.Tensor] {
  const { lr, beta1, beta2, eps, weight_decay, step, factor } = hyper;
  const corrections = [1 - beta1 ** step, 1 - beta2 ** step];
  if (isNative())
    return tf.tidy(
      () =>
        execute('TunebookAdamW', [p, g, m, v, tf.tensor1d([lr, beta1, beta2, eps, weight_decay, ...corrections, factor])], {}, 3) as [
          tf.Tensor,
          tf.Tensor,
          tf.Tensor,
        ],
    );
  return tf.tidy(() => {
    const gradient = tf.mul(g, factor);
    const newM = tf.add(tf.mul(m, beta1), tf.mul(gradient, 1 - beta1));
    const newV = tf.add(tf.mul(v, beta2), tf.mul(tf.square(gradient), 1 - beta2));
    const denominator = tf.add(tf.div(tf.sqrt(newV), Math.sqrt(corrections[1])), eps);
    const newP = tf.sub(tf.mul(p, 1 - lr * weight_decay), tf.mul(tf.div(newM, denominator), lr / corrections[0]));
    return [newP, newM, newV];
  });
}

/** The Euclidean norm of all tensors together, summed in double precision in a fixed order. */
export function globalNorm(tensors: tf.Tensor[]): number {
  let total = 0;
  for (const tensor of tensors) {
    const squares = isNative() ? execute('TunebookSumOfSquares', [tensor], {}, 1)[0] : tf.tidy(() => tf.sum(tf.square(tensor)));
    total += squares.dataSync()[0];
    squares.dispose();
  }
  return Math.sqrt(total);
}

import { inverse } from '../engine/decompose';
import * as tf from '../engine/tf';

/** x [..., blocks * size], r [blocks, size, size] -> the same as x: each block of x times its matrix; one matrix may serve all blocks. */
export function inBlocks(x: tf.Tensor, r: tf.Tensor): tf.Tensor {
  const [own, size] = r.shape;
  const blocks = (x.shape.at(-1) as number) / size;
  if (own === 1) return tf.reshape(tf.matMul(tf.reshape(x, [-1, size]), tf.reshape(r, [size, size]) as tf.Tensor2D), x.shape);
  const split = tf.transpose(tf.reshape(x, [-1, blocks, size]), [1, 0, 2]);
  return tf.reshape(tf.transpose(tf.matMul(split, r), [1, 0, 2]), x.shape);
}

/** Cayley's rotations of skew matrices q [blocks, size, size]: (I - Q) (I + Q)^-1 */
export function cayley(q: tf.Tensor): tf.Tensor {
  const eye = tf.eye(q.shape[1] as number);
  return tf.matMul(tf.sub(eye, q), inverse(tf.add(eye, q)));
}

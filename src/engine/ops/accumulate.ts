import { execute, isNative } from '../backend';
import * as tf from '../tf';

/**
 * sums[i] + parts[i], for gradients; each pair has one shape. The sums are the caller's own tensors, whose values nobody else holds:
 * the native engine adds to them in place, others dispose them and return new ones. The parts stay as they are.
 */
export function accumulate(sums: tf.Tensor[], parts: tf.Tensor[]): tf.Tensor[] {
  if (isNative()) {
    execute('TunebookAccumulate', [...sums, ...parts], { N: sums.length }, 0);
    return sums;
  }
  return sums.map((sum, i) => {
    const total = tf.keep(tf.add(sum, parts[i]));
    sum.dispose();
    return total;
  });
}

import { execute, isNative } from '../backend';
import * as tf from '../tf';

/**
 * sums[i] + parts[i], for gradients of micro-batches; each pair has one shape. The sums are the caller's own tensors: the
 * native engine adds to them in place, others return new ones. What is no longer needed is disposed.
 */
export function accumulate(sums: tf.Tensor[], parts: tf.Tensor[]): tf.Tensor[] {
  if (isNative()) {
    execute('TunebookAccumulate', [...sums, ...parts], { N: sums.length }, 0);
    for (const part of parts) part.dispose();
    return sums;
  }
  return sums.map((sum, i) => {
    const total = tf.add(sum, parts[i]);
    sum.dispose();
    parts[i].dispose();
    return total;
  });
}

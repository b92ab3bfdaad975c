import { execute } from '../backend';
import type * as tf from '../tf';

/** sums[i] += parts[i] for many tensors at once, in place; each pair has one shape. Natively only, and where `ownsValues(sums[i])`. */
export function accumulate(sums: tf.Tensor[], parts: tf.Tensor[]): void {
  execute('TunebookAccumulate', [...sums, ...parts], { N: sums.length }, 0);
}

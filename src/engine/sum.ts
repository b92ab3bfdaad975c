import { execute, isNative } from './backend';
import * as tf from './tf';

/** a + b, both [...] of one shape. Natively on the threads of our own ops: TensorFlow's would have to be woken. */
export const sum = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => (isNative() ? execute('TunebookAdd', [a, b], {}, 1)[0] : tf.add(a, b));

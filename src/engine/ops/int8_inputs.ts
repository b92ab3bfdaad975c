import { execute, isNative } from '../backend';
import { taped } from '../tape';
import * as tf from '../tf';

/**
 * What LLM.int8() (Dettmers et al., 2022, https://arxiv.org/abs/2208.07339) makes of a layer's input x [..., columns]: every row in
 * 8 bits of its largest magnitude, taken in half precision; but columns in which a value reaches `threshold` stay as they are (0: none do).
 * A product with it is what the paper's two products give together. Gradients go through as they are.
 */
export function int8Inputs(x: tf.Tensor, threshold: number): tf.Tensor {
  const native = () => execute('TunebookInt8Inputs', [x], { threshold: { float: threshold } }, 1)[0];
  const forward = () => ({ y: isNative() ? native() : int8InputsReference(x, threshold), save: [] });
  return taped('Int8Inputs', { x }, forward, (dy) => ({ x: () => tf.clone(dy) }));
}

export function int8InputsReference(x: tf.Tensor, threshold: number): tf.Tensor {
  const columns = x.shape.at(-1) as number;
  const plain = x.dataSync() as Float32Array;
  const halves = Float32Array.from(plain, toHalf);
  const isOutlier = (value: number) => threshold > 0 && Math.abs(value) >= threshold;
  const outliers = new Set<number>();
  for (const [i, value] of halves.entries()) if (isOutlier(value)) outliers.add(i % columns);
  const y = new Float32Array(plain.length);
  for (let row = 0; row < plain.length; row += columns) {
    const line = halves.subarray(row, row + columns);
    const largest = line.reduce((most, value) => (isOutlier(value) ? most : Math.max(most, Math.abs(value))), 0);
    const factor = largest ? Math.fround(Math.fround(1 / largest) * 127) : 0;
    const back = Math.fround(largest / 127);
    for (let k = 0; k < columns; k++) y[row + k] = outliers.has(k) ? plain[row + k] : roundToEven(Math.fround(line[k] * factor)) * back;
  }
  return tf.tensor(y, x.shape);
}

/** Rounded to the 11 bits of a half (Veltkamp's way). */
function toHalf(x: number): number {
  const wide = Math.fround(x * 8193);
  return Math.fround(wide - Math.fround(wide - x));
}

/** As numpy and C round: a half goes to the even neighbour. */
export function roundToEven(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

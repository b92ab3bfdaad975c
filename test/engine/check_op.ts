import { expect } from 'vitest';
import { startBackend } from '../../src/engine/backend';
import type { FusedOp } from '../../src/engine/fused_op';
import { type Precision, withPrecision } from '../../src/engine/precision';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';

/** Runs f with native tensors counted, and fails when any is left over. */
export function withoutLeaks(f: () => void): void {
  const before = tf.memory().numTensors;
  tf.engine().startScope();
  f();
  tf.engine().endScope();
  expect(tf.memory().numTensors, 'tensors left over').toBe(before);
}

function difference(a: Float32Array | Int32Array | Uint8Array, b: typeof a): number {
  let scale = 1e-6;
  let worst = 0;
  for (const value of b) scale = Math.max(scale, Math.abs(value));
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= worst)) worst = d; // also for NaN
  }
  return worst / scale;
}

export function roundedToBf16(t: tf.Tensor): tf.Tensor {
  const bits = new Uint32Array(Float32Array.from(t.dataSync()).buffer);
  const rounded = bits.map((b) => (b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000);
  return tf.tensor(new Float32Array(rounded.buffer), t.shape);
}

/**
 * Compares an op's native value and gradients with those of its reference composition, on the same inputs and a random
 * upstream gradient. `skip` names inputs that get no gradient by contract (tables, frozen weights). In bf16, inputs and
 * upstream gradient are numbers that bf16 holds, so that only values made on the way are rounded.
 */
export async function checkOp(
  op: FusedOp<any, any>,
  makeInputs: () => Record<string, tf.Tensor>,
  attributes: object = {},
  options: { tolerance?: number; skip?: string[]; precision?: Precision } = {},
): Promise<void> {
  await startBackend();
  const { tolerance = 2e-5, skip = [], precision = 'fp32' } = options;
  const made = (t: tf.Tensor) => (precision === 'bf16' && t.dtype === 'float32' ? roundedToBf16(t) : t);
  withoutLeaks(() => {
    const inputs = Object.fromEntries(Object.entries(makeInputs()).map(([name, t]) => [name, made(t)]));
    const names = op.spec.inputs.filter((name) => !skip.includes(name as string)) as string[];
    const wrt = names.map((name) => inputs[name]);
    const native = withPrecision(precision, () => record(() => op(inputs, attributes)));
    const reference = record(() => op.spec.reference(inputs, attributes));
    expect(native.value.shape).toEqual(reference.value.shape);
    const dy = made(tf.randomNormal(native.value.shape, 0, 1, 'float32', 7));
    const [a, b] = [native.pullback(wrt, dy), reference.pullback(wrt, dy)];
    expect(difference(native.value.dataSync(), reference.value.dataSync()), `${op.spec.name}: value`).toBeLessThan(tolerance);
    for (const [i, name] of names.entries())
      expect(difference(a[i].dataSync(), b[i].dataSync()), `${op.spec.name}: gradient of ${name}`).toBeLessThan(tolerance);
    native.dispose();
    reference.dispose();
  });
}

let seed = 1;
export const normal = (shape: number[], scale = 1): tf.Tensor => tf.randomNormal(shape, 0, scale, 'float32', seed++);

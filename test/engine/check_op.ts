import { expect } from 'vitest';
import { startBackend } from '../../src/engine/backend';
import type { FusedOp } from '../../src/engine/fused_op';
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

/**
 * Compares an op's native value and gradients with those of its reference composition, on the same inputs and a random
 * upstream gradient. `skip` names inputs that get no gradient by contract (tables, frozen weights).
 */
export async function checkOp(
  op: FusedOp<any, any>,
  makeInputs: () => Record<string, tf.Tensor>,
  attributes: object = {},
  options: { tolerance?: number; skip?: string[] } = {},
): Promise<void> {
  await startBackend();
  const { tolerance = 2e-5, skip = [] } = options;
  withoutLeaks(() => {
    const inputs = makeInputs();
    const names = op.spec.inputs.filter((name) => !skip.includes(name as string)) as string[];
    const wrt = names.map((name) => inputs[name]);
    const native = record(() => op(inputs, attributes));
    const reference = record(() => op.spec.reference(inputs, attributes));
    expect(native.value.shape).toEqual(reference.value.shape);
    const dy = tf.randomNormal(native.value.shape, 0, 1, 'float32', 7);
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

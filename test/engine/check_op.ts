import { expect } from 'vitest';
import { isNative, startBackend } from '../../src/engine/backend';
import type { FusedOp } from '../../src/engine/fused_op';
import { type Precision, withPrecision } from '../../src/engine/precision';
import type { Projection } from '../../src/engine/projection';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { Weight, type WeightFormat } from '../../src/engine/weights';

/** What is tested must be the native engine. */
export async function startNative(): Promise<void> {
  await startBackend();
  expect(isNative()).toBe(true);
}

/** Runs f with native tensors counted, and fails when any is left over. */
export function withoutLeaks(f: () => void): void {
  const before = tf.memory().numTensors;
  tf.engine().startScope();
  f();
  tf.engine().endScope();
  expect(tf.memory().numTensors, 'tensors left over').toBe(before);
}

function difference(a: Float32Array | Int32Array | Uint8Array, b: typeof a): number {
  let scale = 1e-4; // where all is smaller, it is what rounding leaves of terms that cancel
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
    const names = op.spec.inputs.filter((name) => !skip.includes(name as string) && inputs[name as string]) as string[];
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

/**
 * Compares an op's native value, and some of each input's gradients, with a function in fp64 (gradients by central differences): where the
 * reference composition's own rounding, in fp32, would hide a fault.
 */
export async function checkExact<I extends Record<string, tf.Tensor>>(
  op: FusedOp<any, any>,
  inputs: I,
  attributes: object,
  exact: (inputs: Record<keyof I, Float64Array>) => Float64Array,
  tolerance: number,
): Promise<void> {
  await startBackend();
  withoutLeaks(() => {
    const names = Object.keys(inputs) as (keyof I)[];
    const values = Object.fromEntries(names.map((name) => [name, Float64Array.from(inputs[name].dataSync())])) as Record<
      keyof I,
      Float64Array
    >;
    const native = record(() => op(inputs, attributes));
    const dy = tf.randomNormal(native.value.shape, 0, 1, 'float32', 7);
    const upstream = dy.dataSync();
    const gradients = native.pullback(
      names.map((name) => inputs[name]),
      dy,
    );
    expect(difference(native.value.dataSync(), Float32Array.from(exact(values))), 'value').toBeLessThan(tolerance);
    const loss = () => exact(values).reduce((sum, y, i) => sum + y * upstream[i], 0);
    for (const [n, name] of names.entries()) {
      const x = values[name];
      const gradient = Array.from(gradients[n].dataSync());
      const scale = Math.max(...gradient.map(Math.abs));
      for (let i = 0; i < x.length; i += Math.ceil(x.length / 31)) {
        const at = x[i];
        const h = 1e-5 * Math.max(1, Math.abs(at));
        const [above, below] = [at + h, at - h].map((moved) => {
          x[i] = moved;
          return loss();
        });
        x[i] = at;
        const wrong = Math.abs(gradient[i] - (above - below) / (2 * h)) / scale;
        expect(wrong, `gradient of ${String(name)} at ${i}`).toBeLessThan(tolerance);
      }
    }
    native.dispose();
  });
}

let seed = 1;
export const normal = (shape: number[], scale = 1): tf.Tensor => tf.randomNormal(shape, 0, scale, 'float32', seed++);

/** At least so many columns, as a format packs them. */
export const wholeBlocks = (columns: number, format?: WeightFormat): number =>
  format ? Math.ceil(columns / format.block) * format.block : columns;

/** A weight of normal numbers. */
export function randomWeight(format: WeightFormat, rows: number, columns: number): Weight {
  if (!format.encode) throw new Error(`${format.name} cannot be packed, so it cannot be tested: give it an encode.`);
  return new Weight(format, [rows, columns], format.encode(normal([rows * columns], 0.1).dataSync() as Float32Array, columns));
}

interface ProjectionsCheck {
  /** Of x; the last is the hidden size. */
  x: number[];
  /** [out, in] of every matrix. */
  sizes: (readonly [number, number])[];
  /** How matrices are packed; by default they are trained tensors. */
  format?: WeightFormat;
  ranks: readonly number[];
  dropout?: number;
  /** Which projections have a bias. */
  biased?: number[];
  /** What is scaled of each. */
  scaled?: readonly ('in' | 'out' | undefined)[];
  precision?: Precision;
  tolerance?: number;
}

/** Checks an op over several projections, each with a random pair of its rank beside it; `attributes` makes the op's own of the projections. */
export async function checkProjections(
  op: FusedOp<any, any>,
  {
    x,
    sizes,
    format,
    ranks,
    dropout = 0,
    biased = [],
    scaled = [],
    precision = 'fp32',
    tolerance = precision === 'bf16' ? 2e-2 : 3e-5,
  }: ProjectionsCheck,
  attributes: (projections: Projection[]) => object,
): Promise<void> {
  await startBackend();
  seed = 101; // what others check does not change this one's numbers
  const weights = sizes.map(([out, into]) => format && randomWeight(format, out, into));
  const projections = weights.map((weight, i) => ({ weight, scale: [0.5, 2, 1][i % 3], dropout, seed: 3 + i }));
  const tensors = () =>
    sizes.flatMap(([out, into], i) => [
      ...(format ? [] : [[`w${i}`, normal([out, into], 0.1)] as const]),
      [`a${i}`, normal([ranks[i], into], 0.3)] as const,
      [`b${i}`, normal([out, ranks[i]], 0.3)] as const,
      ...(biased.includes(i) ? [[`bias${i}`, normal([out])] as const] : []),
      ...(scaled[i] ? [[`l${i}`, normal(scaled[i] === 'out' ? [out, 1] : [1, into])] as const] : []),
    ]);
  const gain = (): Record<string, tf.Tensor> => (op.spec.inputs.includes('gain') ? { gain: normal(x.slice(-1)) } : {});
  await checkOp(op, () => ({ x: normal(x), ...gain(), ...Object.fromEntries(tensors()) }), attributes(projections), {
    skip: ranks.flatMap((r, i) => (r ? [] : [`a${i}`, `b${i}`])),
    precision,
    tolerance,
  });
  for (const weight of weights) weight?.dispose();
}

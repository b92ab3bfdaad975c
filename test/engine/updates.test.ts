import { beforeAll, expect, it } from 'vitest';
import { Handle } from '../../src/engine/backend';
import { accumulate } from '../../src/engine/ops/accumulate';
import { adamwStep, adamwStep8, globalNorm, PackedMoment } from '../../src/engine/ops/adamw';
import * as tf from '../../src/engine/tf';
import { normal, startNative, withoutLeaks } from './check_op';

beforeAll(startNative);

it('adamw follows the published update', () =>
  withoutLeaks(() => {
    const states = [37, 20000, 1].map((n) => ({ p: normal([n]), g: normal([n]), m: normal([n], 0.1), v: tf.square(normal([n], 0.1)) }));
    const hyper = { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 3, factor: 0.5 };
    const before = states.map(({ p, g, m, v }) => [p, g, m, v].map((t) => t.dataSync().slice()));
    for (const [k, { p, m, v }] of adamwStep(states, hyper).entries()) {
      const actual = [p, m, v].map((t) => t.dataSync());
      const [P, G, M, V] = before[k];
      let worst = 0;
      for (let i = 0; i < P.length; i++) {
        const gradient = G[i] * 0.5;
        const newM = 0.9 * M[i] + 0.1 * gradient;
        const newV = 0.999 * V[i] + 0.001 * gradient ** 2;
        const newP = P[i] * (1 - 0.001) - (0.01 * (newM / (1 - 0.9 ** 3))) / (Math.sqrt(newV / (1 - 0.999 ** 3)) + 1e-8);
        for (const [j, value] of [newP, newM, newV].entries())
          worst = Math.max(worst, Math.abs(actual[j][i] - value) / Math.max(1, Math.abs(value)));
      }
      expect(worst).toBeLessThan(1e-5);
    }
  }));
it('globalNorm is the norm of all tensors together', async () => {
  const tensors = [37, 20000, 1].map((n) => normal([n]));
  const squares = tensors.flatMap((t) => Array.from(t.dataSync())).reduce((sum, g) => sum + g * g, 0);
  expect(Math.abs((await globalNorm(tensors)) / Math.sqrt(squares) - 1)).toBeLessThan(1e-6);
  for (const t of tensors) t.dispose();
});
it('adamw with 8-bit moments stays near the exact update, and its moments survive a checkpoint', () =>
  withoutLeaks(() => {
    const [n, hyper] = [10000, { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, factor: 1 }];
    const start = normal([n]);
    const own = () => tf.mul(start, 1); // changed in place
    const exact = { p: own(), m: tf.zeros([n]), v: tf.zeros([n]) };
    const packed = { p: own(), m: new PackedMoment([n], true), v: new PackedMoment([n], false) };
    for (let step = 1; step <= 20; step++) {
      const g = normal([n], 0.1);
      adamwStep([{ ...exact, g }], { ...hyper, step });
      adamwStep8([{ ...packed, g }], { ...hyper, step });
    }
    const moved = (p: tf.Tensor) => tf.sub(p, start);
    const off = tf.norm(tf.sub(moved(packed.p), moved(exact.p))).dataSync()[0] / tf.norm(moved(exact.p)).dataSync()[0];
    expect(off).toBeLessThan(0.03);
    expect(off, 'really 8 bits').toBeGreaterThan(1e-5);
    for (const moment of [packed.m, packed.v]) {
      const before = moment.read();
      moment.write(tf.tensor1d(before));
      expect(moment.read()).toEqual(before);
    }
    const bytes = Handle.nativeBytes;
    packed.m.dispose();
    packed.v.dispose();
    expect(bytes - Handle.nativeBytes).toBe(2 * 40 * 260);
  }));
it('accumulate adds to its own sums', () =>
  withoutLeaks(() => {
    const shapes = [[3, 5], [20000], [1]];
    const sums = shapes.map((shape) => normal(shape));
    const parts = shapes.map((shape) => normal(shape));
    const expected = sums.map((sum, i) => sum.dataSync().map((value, j) => Math.fround(value + parts[i].dataSync()[j])));
    accumulate(sums, parts);
    for (const [i, sum] of sums.entries()) expect(Array.from(sum.dataSync())).toEqual(Array.from(expected[i]));
  }));

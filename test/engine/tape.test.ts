import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import * as engine from '../../src/engine/backend';
import { rmsNorm } from '../../src/engine/ops/rms_norm';
import { checkpoint, record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { normal, startNative, withoutLeaks } from './check_op';

beforeAll(startNative);
afterEach(() => void vi.restoreAllMocks());

it('the tape frees what was saved when a forward pass throws, and when it is not used', () =>
  withoutLeaks(() => {
    const x = normal([3, 4]);
    expect(() =>
      record(() => {
        tf.square(tf.square(x));
        throw new Error('no');
      }),
    ).toThrow('no');
    record(() => tf.sum(tf.square(tf.square(x)))).dispose();
  }));
it('the tape gives the same gradients with recomputation', () =>
  withoutLeaks(() => {
    const [x, w] = [normal([3, 4]), normal([4, 4])];
    const f = (h: tf.Tensor) => tf.tanh(tf.matMul(h as tf.Tensor2D, w as tf.Tensor2D));
    const plain = record(() => tf.sum(f(f(x))));
    const cheap = record(() => tf.sum(checkpoint(f, checkpoint(f, x, [w]), [w])));
    const [a, b] = [plain.pullback([x, w]), cheap.pullback([x, w])];
    for (const i of [0, 1]) expect(Array.from(b[i].dataSync())).toEqual(Array.from(a[i].dataSync()));
    plain.dispose();
    cheap.dispose();
  }));
for (const by of ['our ops', 'those of tfjs'])
  it(`gradients are added to those from elsewhere by ${by}`, () => {
    vi.spyOn(engine, 'isNative').mockReturnValue(by === 'our ops');
    withoutLeaks(() => {
      const [x, w, unused] = [normal([3, 4]), normal([4]), normal([2])];
      const values = (all: tf.Tensor[]) => all.map((t) => Array.from(t.dataSync()));
      const norm = (y: tf.Tensor) => rmsNorm({ x: y, weight: w }, { eps: 1e-5 });
      const gradients = (before?: tf.Tensor[]) => {
        const made = record(() => tf.sum(tf.square(norm(norm(x)))));
        const found = made.pullback([x, w, unused], undefined, before);
        made.value.dispose();
        return found;
      };
      const once = gradients();
      const expected = values(once).map((all) => all.map((value) => 2 * value));
      for (const [i, found] of values(gradients(once)).entries())
        for (const [j, value] of found.entries()) expect(value).toBeCloseTo(expected[i][j], 5);
    });
  });
it('a gradient that shares its values with another is not added to in place', () =>
  withoutLeaks(() => {
    const [p, q] = [normal([2, 2]), normal([2, 2])];
    // The first contribution to both is one tensor, reshaped; p has two more.
    const f = () => tf.sum(tf.add(tf.square(p), tf.add(tf.mul(p, 3), tf.reshape(tf.add(tf.reshape(p, [4]), tf.reshape(q, [4])), [2, 2]))));
    const made = record(f);
    const [dp, dq] = made.pullback([p, q]);
    made.value.dispose();
    expect(Array.from(dq.dataSync())).toEqual([1, 1, 1, 1]);
    for (const [i, value] of dp.dataSync().entries()) expect(value).toBeCloseTo(2 * p.dataSync()[i] + 4, 5);
  }));

import { beforeAll, expect, it } from 'vitest';
import { checkpoint, record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { normal, startNative, withoutLeaks } from './check_op';

beforeAll(startNative);

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

import { beforeAll, describe, expect, it } from 'vitest';
import { denseCrossEntropy } from '../../src/engine/ops/dense_cross_entropy';
import { denseLosses } from '../../src/engine/ops/dense_losses';
import { linearCrossEntropy } from '../../src/engine/ops/linear_cross_entropy';
import * as tf from '../../src/engine/tf';
import { bf16, f32, nf4, q4_1, q8_0 } from '../../src/quantize';
import { checkOp, normal, randomWeight, startNative, withoutLeaks } from './check_op';

beforeAll(startNative);

describe('heads and their losses agree with their references', () => {
  for (const [rows, dim, vocabulary, format] of [
    [1, 32, 5, f32],
    [7, 64, 1000, q8_0],
    [50, 32, 777, q4_1],
    [70, 24, 777, undefined],
  ] as const)
    it(`linearCrossEntropy [${rows}, ${dim}] over ${vocabulary} ${format?.name ?? 'of a tensor'}`, async () => {
      const weight = format ? randomWeight(format, vocabulary, dim) : normal([vocabulary, dim], 0.3);
      const labels = tf.tensor1d(
        Array.from({ length: rows }, (_, i) => (i * 37) % vocabulary),
        'int32',
      );
      await checkOp(
        linearCrossEntropy,
        () => ({ x: normal([rows, dim], 2) }),
        { frozen: weight, labels, gradient: true },
        { tolerance: 5e-5 },
      );
      await checkOp(
        linearCrossEntropy,
        () => ({ x: normal([rows, dim], 2) }),
        { frozen: weight, labels, gradient: true, cap: 1.5 },
        { tolerance: 5e-5 },
      );
      weight.dispose();
      labels.dispose();
    });
  for (const precision of ['fp32', 'bf16'] as const) {
    for (const [rows, dim, vocabulary, scale] of [
      [1, 8, 5, 0.5], // with sure predictions the gradient is what cancellation leaves
      [7, 33, 600, 2],
      [300, 32, 777, 2],
      [1100, 24, 2000, 2],
      [70, 24, 4000, 12], // logits of some hundred: blocks of the vocabulary differ by more than fp32 has exponents for
    ])
      it(`denseCrossEntropy and denseLosses in ${precision}: [${rows}, ${dim}] of ${scale} over ${vocabulary}`, async () => {
        const labels = tf.tensor1d(
          Array.from({ length: rows }, (_, i) => (i * 37) % vocabulary),
          'int32',
        );
        const given = () => ({ x: normal([rows, dim], scale), weight: normal([vocabulary, dim]) });
        const options = { precision, tolerance: precision === 'bf16' ? 2e-2 : 5e-5 };
        await checkOp(denseCrossEntropy, given, { labels, factor: 1 / rows }, options);
        await checkOp(denseLosses, given, { labels }, options);
        await checkOp(denseCrossEntropy, given, { labels, factor: 1 / rows, cap: scale }, options);
        labels.dispose();
      });
  }
  for (const precision of ['fp32', 'bf16'] as const)
    for (const [rows, dim, vocabulary, rank, scale, format] of [
      [1, 32, 5, 1, 1, f32],
      [7, 33, 600, 3, 1, undefined],
      [50, 64, 777, 8, 1, q4_1],
      [300, 64, 777, 16, 1, nf4],
      [1100, 32, 2000, 40, 0.5, q8_0],
      [70, 32, 4000, 5, 8, bf16], // blocks of the vocabulary differ by more than fp32 has exponents for
    ] as const)
      it(`a low-rank pair of ${rank} beside a head in ${precision}: [${rows}, ${dim}] over ${vocabulary} ${format?.name ?? 'trained'}`, async () => {
        const labels = tf.tensor1d(
          Array.from({ length: rows }, (_, i) => (i * 37) % vocabulary),
          'int32',
        );
        const frozen = format && randomWeight(format, vocabulary, dim);
        const given = (): Record<string, tf.Tensor> => ({
          x: normal([rows, dim], 2),
          ...(frozen ? {} : { weight: normal([vocabulary, dim], 0.3) }),
          u: normal([rows, rank], scale),
          b: normal([vocabulary, rank], scale),
        });
        // matrices are rounded to bf16 too, and of one row's sure prediction cancellation leaves little
        const tolerance = precision === 'bf16' ? (rows > 1 ? 3e-2 : 6e-2) : 5e-5;
        await checkOp(denseCrossEntropy, given, { frozen, labels, factor: 1 / rows }, { precision, tolerance });
        await checkOp(denseLosses, given, { frozen, labels }, { precision, tolerance });
        await checkOp(denseLosses, given, { frozen, labels, cap: 3 }, { precision, tolerance: 2 * tolerance });
        if (frozen)
          await checkOp(linearCrossEntropy, given, { frozen, labels, gradient: false }, { precision, tolerance, skip: ['x', 'u', 'b'] });
        frozen?.dispose();
        labels.dispose();
      });
  it('a head that does not fit is refused with its shapes', () =>
    withoutLeaks(() => {
      const [x, weight, labels] = [normal([2, 4]), normal([5, 4]), tf.tensor1d([1, 2], 'int32')];
      const [u, b] = [normal([2, 3]), normal([5, 3])];
      const sum = (given: object, more: object = {}) => denseCrossEntropy({ x, ...given }, { labels, factor: 1, ...more });
      expect(() => sum({})).toThrow(/either a frozen matrix or a trained one/);
      expect(() => sum({ weight }, { frozen: weight })).toThrow(/either a frozen matrix or a trained one/);
      expect(() => sum({ weight: u })).toThrow(/x \[2,4\] and int32 labels \[2\] do not fit a weight of \[2,3\]/);
      expect(() => sum({ weight, u })).toThrow(/a pair of u \[2,3\] and b \[undefined\] does not fit/);
      expect(() => sum({ weight, u, b: normal([4, 3]) })).toThrow(/a pair of u \[2,3\] and b \[4,3\] does not fit/);
      expect(() => linearCrossEntropy({ x, u, b }, { frozen: weight, labels, gradient: true })).toThrow(/denseCrossEntropy does/);
    }));
});

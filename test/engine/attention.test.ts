import { beforeAll, describe, expect, it } from 'vitest';
import { attention, LayerCache } from '../../src/engine/ops/attention';
import { rope } from '../../src/engine/ops/rope';
import * as tf from '../../src/engine/tf';
import { rotaryTables } from '../../src/nn';
import { checkExact, checkOp, normal, startNative, withoutLeaks } from './check_op';

beforeAll(startNative);

describe('attention agrees with its reference', () => {
  for (const [growth, what] of [
    [0, 'as they come'],
    [0.3, 'that grow from key to key'],
    [-0.3, 'that fall from key to key'],
  ] as const)
    it(`attention with scores of up to some hundreds, ${what}, against fp64`, () => {
      const [tokens, heads, dim, scale] = [150, 2, 32, 32 ** -0.5];
      const factors = Float32Array.from({ length: tokens }, (_, t) => Math.max(0.1, growth < 0 ? 40 + growth * t : growth * t));
      const grow = tf.concat([tf.ones([tokens, heads, 1]), tf.tensor(factors, [tokens, 1, 1]), tf.ones([tokens, 1, 1])], 1);
      const qkv = tf.mul(normal([1, tokens, heads + 2, dim], growth ? 1 : 6), growth ? grow : 1);
      return checkExact(
        attention,
        { qkv },
        { heads, groups: 1, scale },
        ({ qkv: x }) => {
          const y = new Float64Array(tokens * heads * dim);
          const at = (t: number, h: number) => x.subarray((t * (heads + 2) + h) * dim, (t * (heads + 2) + h + 1) * dim);
          for (let t = 0; t < tokens; t++)
            for (let h = 0; h < heads; h++) {
              const q = at(t, h);
              const scores = Array.from({ length: t + 1 }, () => 0);
              for (let j = 0; j <= t; j++) for (let i = 0, k = at(j, heads); i < dim; i++) scores[j] += k[i] * q[i] * scale;
              const top = Math.max(...scores);
              const p = scores.map((s) => Math.exp(s - top));
              const total = p.reduce((sum, v) => sum + v, 0);
              for (let j = 0; j <= t; j++)
                for (let i = 0, v = at(j, heads + 1); i < dim; i++) y[(t * heads + h) * dim + i] += (p[j] / total) * v[i];
            }
          return y;
        },
        5e-5,
      );
    });
  for (const [batch, seq, heads, dim] of [
    [1, 1, 1, 2],
    [2, 5, 3, 64],
    [1, 33, 2, 10],
  ])
    it(`rope [${batch}, ${seq}, ${heads}, ${dim}]`, () =>
      checkOp(
        rope,
        () => ({
          x: normal([batch, seq, heads, dim]),
          ...rotaryTables(
            { frequencies: Array.from({ length: dim / 2 }, (_, i) => 1 / (i + 1)), factor: 1 },
            Array.from({ length: seq }, (_, i) => 3 + i),
          ),
        }),
        {},
        { skip: ['cos', 'sin'] },
      ));
  for (const precision of ['fp32', 'bf16'] as const)
    for (const [batch, seq, heads, groups, dim] of [
      [1, 1, 1, 1, 4],
      [2, 7, 4, 2, 8],
      [1, 70, 9, 3, 64],
      [1, 130, 2, 1, 33],
      [2, 49, 3, 3, 16],
      [1, 70, 2, 1, 128],
      [1, 37, 2, 2, 256],
    ])
      it(`attention in ${precision}: qkv [${batch}, ${seq}, ${heads} + 2 x ${groups}, ${dim}]`, () =>
        checkOp(
          attention,
          () => ({ qkv: normal([batch, seq, heads + 2 * groups, dim]) }),
          { heads, groups, scale: dim ** -0.5 },
          { precision, tolerance: precision === 'bf16' ? 1e-2 : 2e-5 },
        ));
  for (const precision of ['fp32', 'bf16'] as const)
    for (const [batch, lengths] of [
      [1, [5, 1, 60, 49]],
      [1, [1, 1, 1]],
      [2, [100, 28]],
    ] as const)
      it(`attention in ${precision} over rows of ${lengths} tokens one behind another`, () =>
        checkOp(
          attention,
          () => ({ qkv: normal([batch, lengths.reduce((sum: number, n) => sum + n, 0) / batch, 8, 24]) }),
          { heads: 4, groups: 2, scale: 0.2, lengths: [...lengths] },
          { precision, tolerance: precision === 'bf16' ? 1e-2 : 2e-5 },
        ));
  for (const precision of ['fp32', 'bf16'] as const)
    for (const [lengths, window] of [[[24, 41, 38, 1]], [[1, 60, 130]], [[150, 5, 90]], [[70, 40, 100], 50], [[30, 3], 4]] as const)
      it(`attention in ${precision} over rows of ${lengths} tokens that all go on from the first, window ${window}`, () =>
        checkOp(
          attention,
          () => ({ qkv: normal([1, lengths.reduce((sum: number, n) => sum + n, 0), 8, 24]) }),
          { heads: 4, groups: 2, scale: 0.2, lengths: [...lengths], prefixed: true, window },
          { precision, tolerance: precision === 'bf16' ? 1e-2 : 2e-5 },
        ));
  for (const precision of ['fp32', 'bf16'] as const)
    for (const [seq, window, lengths] of [
      [40, 1, undefined],
      [130, 7, undefined],
      [300, 100, undefined],
      [300, 257, [1, 299]],
      [60, 500, undefined],
    ] as const)
      it(`attention in ${precision} over ${lengths ?? seq} tokens with a window of ${window}`, () =>
        checkOp(
          attention,
          () => ({ qkv: normal([1, seq, 8, 24]) }),
          { heads: 4, groups: 2, scale: 0.2, window, lengths: lengths && [...lengths] },
          { precision, tolerance: precision === 'bf16' ? 1e-2 : 2e-5 },
        ));
  for (const precision of ['fp32', 'bf16'] as const)
    for (const [lengths, cap, window, prefixed] of [
      [[1], 0.5],
      [[130], 0.5],
      [[70, 40, 100], 2, 50],
      [[70, 40, 100], 30, 50, true],
    ] as const)
      it(`attention in ${precision} over ${lengths} tokens with scores within ${cap}, window ${window}, prefixed ${prefixed}`, () =>
        checkOp(
          attention,
          () => ({ qkv: normal([1, lengths.reduce((sum: number, n) => sum + n, 0), 8, 24], 2) }),
          { heads: 4, groups: 2, scale: 0.2, cap, window, lengths: [...lengths], prefixed },
          { precision, tolerance: precision === 'bf16' ? 1e-2 : 2e-5 },
        ));
  for (const [window, cap] of [[undefined], [20], [1], [20, 0.5]])
    it(`attention through a cache equals attention over everything, window ${window}, cap ${cap}`, () =>
      withoutLeaks(() => {
        const [groups, dim, seq] = [2, 16, 60];
        const all = normal([1, seq, 8, dim]) as tf.Tensor4D;
        const attributes = { heads: 4, groups, scale: 0.25, window, cap };
        const expected = attention({ qkv: all }, attributes);
        const cache = new LayerCache(64, groups, dim);
        const parts = [
          [0, 50],
          [50, 1],
          [51, 7],
          [58, 2],
        ].map(([from, n]) => cache.attend(tf.slice(all, [0, from, 0, 0], [1, n, -1, -1]), from, attributes));
        expect(tf.max(tf.abs(tf.sub(tf.concat(parts, 1), expected))).dataSync()[0]).toBeLessThan(1e-5);
        expect(() => cache.attend(all, 10, attributes)).toThrow(/holds 64 positions, but 70/);
        cache.dispose();
      }));
});

import { beforeAll, describe, expect, it } from 'vitest';
import { MemoryError } from '../../src/core/errors';
import { execute, Handle, isNative, plainError, startBackend } from '../../src/engine/backend';
import type { FusedOp } from '../../src/engine/fused_op';
import { accumulate } from '../../src/engine/ops/accumulate';
import { adamwStep, adamwStep8, globalNorm, PackedMoment } from '../../src/engine/ops/adamw';
import { add } from '../../src/engine/ops/add';
import { attention, LayerCache } from '../../src/engine/ops/attention';
import { dense } from '../../src/engine/ops/dense';
import { denseCrossEntropy } from '../../src/engine/ops/dense_cross_entropy';
import { dropout } from '../../src/engine/ops/dropout';
import { embedding } from '../../src/engine/ops/embedding';
import { gatedMlp } from '../../src/engine/ops/gated_mlp';
import { gatherRows } from '../../src/engine/ops/gather_rows';
import { geglu } from '../../src/engine/ops/geglu';
import { layerNorm } from '../../src/engine/ops/layer_norm';
import { linear } from '../../src/engine/ops/linear';
import { linearCrossEntropy } from '../../src/engine/ops/linear_cross_entropy';
import { qkv } from '../../src/engine/ops/qkv';
import { rmsNorm } from '../../src/engine/ops/rms_norm';
import { rope } from '../../src/engine/ops/rope';
import { swiglu } from '../../src/engine/ops/swiglu';
import { type Precision, withPrecision } from '../../src/engine/precision';
import { checkpoint, record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { Weight, type WeightFormat } from '../../src/engine/weights';
import { rotaryTables } from '../../src/nn';
import { bf16, f16, f32, fp4, int8, nf4, q4_1, q8_0 } from '../../src/quantize';
import { checkOp, normal, withoutLeaks } from './check_op';

/** A weight of random bytes whose scales are small normal numbers. */
function randomWeight(format: WeightFormat, rows: number, columns: number): Weight {
  const values = normal([rows * columns], 0.1).dataSync() as Float32Array;
  if (format.encode) return new Weight(format, [rows, columns], format.encode(values, columns));
  const bytes = new Uint8Array((rows * columns * format.blockBytes) / format.block);
  if (format === f32) new Float32Array(bytes.buffer).set(values);
  else {
    const random = tf.randomUniform([bytes.length], 0, 256, 'int32', 11).dataSync();
    bytes.set(random);
    const halves = format.block === 32 ? (format === q4_1 ? [0, 2] : [0]) : [];
    // fp16 0x2xxx and bf16 0x3dxx are numbers around 0.01 to 0.1
    for (let at = 0; at < bytes.length; at += format.blockBytes)
      for (const half of halves) bytes[at + half + 1] = 0x20 | (bytes[at + half + 1] & 3);
    if (format.block === 1) for (let at = 1; at < bytes.length; at += 2) bytes[at] = (format === f16 ? 0x20 : 0x3d) | (bytes[at] & 0x80);
  }
  return new Weight(format, [rows, columns], bytes);
}

/** Checks an op over several projections, each with a random pair of its rank beside it. */
function checkProjections(
  op: FusedOp<any, any>,
  x: number[],
  weights: Weight[],
  ranks: readonly number[],
  attributes: object,
  precision: Precision,
): Promise<void> {
  const pairs = () =>
    weights.flatMap(({ shape: [out, into] }, i) => [
      [`a${i}`, normal([ranks[i], into], 0.3)] as const,
      [`b${i}`, normal([out, ranks[i]], 0.3)] as const,
    ]);
  return checkOp(op, () => ({ x: normal(x), ...Object.fromEntries(pairs()) }), attributes, {
    skip: ranks.flatMap((r, i) => (r ? [] : [`a${i}`, `b${i}`])),
    precision,
    tolerance: precision === 'bf16' ? 2e-2 : 3e-5,
  });
}

beforeAll(async () => {
  await startBackend();
  expect(isNative(), 'the native engine must be what is tested').toBe(true);
});

describe('native ops agree with their references', () => {
  for (const [rows, dim] of [
    [1, 2],
    [3, 5],
    [17, 576],
    [64, 33],
  ])
    it(`rmsNorm [${rows}, ${dim}]`, () => checkOp(rmsNorm, () => ({ x: normal([rows, dim]), weight: normal([dim]) }), { eps: 1e-5 }));
  it('rmsNorm of large and tiny values', async () => {
    await checkOp(rmsNorm, () => ({ x: normal([4, 64], 1e4), weight: normal([64]) }), { eps: 1e-5 });
    await checkOp(rmsNorm, () => ({ x: normal([4, 64], 1e-4), weight: normal([64]) }), { eps: 1e-5 });
  });
  for (const shape of [
    [1, 1],
    [2, 3, 7],
    [5, 1536],
    [3, 8193],
  ])
    it(`swiglu [${shape}]`, () => checkOp(swiglu, () => ({ gate: normal(shape, 3), up: normal(shape) })));
  for (const tanh of [true, false])
    for (const shape of [[1], [2, 3, 7], [3, 8193]])
      it(`geglu [${shape}], ${tanh ? 'approximated' : 'exact'}`, () =>
        checkOp(geglu, () => ({ gate: normal(shape, 3), up: normal(shape) }), { tanh }));
  for (const [rows, dim, scale, shift] of [
    [1, 5, 1, 0],
    [17, 384, 1, 0],
    [64, 33, 1e-3, 0],
    [5, 768, 1, 1000],
  ])
    it(`layerNorm [${rows}, ${dim}] of values around ${shift}, ${scale} apart`, () =>
      checkOp(
        layerNorm,
        () => ({ x: tf.add(normal([rows, dim], scale), shift), weight: normal([dim]), bias: normal([dim]) }),
        { eps: 1e-12 },
        // around 1,000 the inputs themselves are rounded to 6e-5
        { tolerance: shift ? 2e-4 : 2e-5 },
      ));
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
            Array.from({ length: dim / 2 }, (_, i) => 1 / (i + 1)),
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
  for (const format of [f32, f16, bf16, q4_1, q8_0, nf4, fp4, int8])
    for (const [rows, into, out, rank] of [
      [1, 64, 40, 0],
      [2, 128, 7, 3],
      [5, 192, 50, 16],
      [61, 64, 192, 5],
      [130, 320, 33, 0],
    ])
      it(`linear over ${format.name}: [${rows}, ${into}] -> ${out}, rank ${rank}`, async () => {
        const weight = randomWeight(format, out, into);
        const inputs = () => ({ x: normal([rows, into]), a: normal([rank, into]), b: normal([out, rank]) });
        await checkOp(linear, inputs, { weight, scale: 0.5 }, { skip: rank ? [] : ['a', 'b'] });
        weight.dispose();
      });
  for (const rows of [2, 70])
    it(`linear with dropout on its low-rank term: [${rows}, 64]`, async () => {
      const weight = randomWeight(q4_1, 40, 64);
      const inputs = () => ({ x: normal([rows, 64]), a: normal([5, 64]), b: normal([40, 5]) });
      await checkOp(linear, inputs, { weight, scale: 0.5, dropout: 0.3, seed: 77 });
      weight.dispose();
    });
  for (const [format, rows, into, out, rank] of [
    [f32, 5, 33, 17, 0],
    [bf16, 40, 64, 100, 0],
    [q4_1, 61, 96, 50, 3],
    [bf16, 130, 70, 33, 16],
  ] as const)
    it(`linear in bf16 over ${format.name}: [${rows}, ${into}] -> ${out}, rank ${rank}`, async () => {
      const weight = randomWeight(format, out, into);
      const inputs = () => ({ x: normal([rows, into]), a: normal([rank, into]), b: normal([out, rank]) });
      // bf16 has 8 bits: what is rounded on the way (4-bit weights, fp32 weights, the low-rank term) is off by 2^-9.
      const exact = format === bf16 && !rank;
      const options = { skip: rank ? [] : ['a', 'b'], precision: 'bf16' as const, tolerance: exact ? 2e-5 : 6e-3 };
      await checkOp(linear, inputs, { weight, scale: 0.5 }, options);
      weight.dispose();
    });
  it('linearCrossEntropy in bf16', async () => {
    const weight = randomWeight(bf16, 777, 64);
    const labels = tf.tensor1d(
      Array.from({ length: 50 }, (_, i) => (i * 37) % 777),
      'int32',
    );
    await checkOp(
      linearCrossEntropy,
      () => ({ x: normal([50, 64], 2) }),
      { weight, labels, gradient: true },
      { precision: 'bf16', tolerance: 5e-3 },
    );
    weight.dispose();
    labels.dispose();
  });
  it('bf16 products keep NaN and infinity', async () => {
    const weight = randomWeight(bf16, 8, 8);
    const y = tf.tidy(() =>
      withPrecision('bf16', () =>
        linear(
          {
            x: tf.tensor2d([...Array(8).fill(1), ...Array(7).fill(1), Number.NaN, ...Array(16).fill(1)], [4, 8]),
            a: tf.zeros([0, 8]),
            b: tf.zeros([8, 0]),
          },
          { weight, scale: 0 },
        ).dataSync(),
      ),
    );
    expect(Array.from(y.slice(8, 16)).every(Number.isNaN)).toBe(true);
    expect(Array.from(y.slice(0, 8)).every(Number.isFinite)).toBe(true);
    weight.dispose();
  });
  for (const [format, rows, hidden, inner, ranks, dropout, precision] of [
    [q4_1, 61, 64, 96, [16, 5, 3], 0, 'fp32'],
    [bf16, 130, 33, 70, [8, 0, 20], 0.2, 'fp32'],
    [q8_0, 2, 32, 64, [4, 4, 4], 0.3, 'fp32'],
    [f32, 5, 13, 29, [0, 0, 0], 0, 'fp32'],
    [bf16, 61, 64, 96, [16, 16, 16], 0, 'bf16'],
  ] as const)
    it(`gatedMlp in ${precision} over ${format.name}: [${rows}, ${hidden}] through ${inner}, ranks ${ranks}, dropout ${dropout}`, async () => {
      const [gate, up, down] = [
        randomWeight(format, inner, hidden),
        randomWeight(format, inner, hidden),
        randomWeight(format, hidden, inner),
      ];
      const [gain, bias] = [normal([hidden]), normal([inner])];
      const attributes = {
        gain,
        eps: 1e-5,
        gate: { weight: gate, scale: 0.5, dropout, seed: 3 },
        up: { weight: up, bias, scale: 2, dropout, seed: 4 },
        down: { weight: down, scale: 1, dropout, seed: 5 },
      };
      await checkProjections(gatedMlp, [rows, hidden], [gate, up, down], ranks, attributes, precision);
      for (const owned of [gate, up, down, gain, bias]) owned.dispose();
    });
  for (const [format, batch, seq, hidden, heads, groups, dim, ranks, dropout, precision] of [
    [q4_1, 1, 61, 64, 4, 2, 16, [16, 5, 3], 0, 'fp32'],
    [bf16, 2, 33, 70, 3, 1, 10, [8, 0, 20], 0.2, 'fp32'],
    [q8_0, 1, 2, 32, 2, 2, 16, [4, 4, 4], 0.3, 'fp32'],
    [f32, 3, 1, 13, 1, 1, 2, [0, 0, 0], 0, 'fp32'],
    [bf16, 1, 61, 64, 4, 2, 16, [16, 16, 16], 0, 'bf16'],
  ] as const)
    it(`qkv in ${precision} over ${format.name}: [${batch}, ${seq}, ${hidden}] to ${heads} + 2 x ${groups} of ${dim}, ranks ${ranks}, dropout ${dropout}`, async () => {
      const outs = [heads * dim, groups * dim, groups * dim];
      const [q, k, v] = outs.map((out) => randomWeight(format, out, hidden));
      const [gain, bias] = [normal([hidden]), normal([outs[1]])];
      const tables = rotaryTables(
        Array.from({ length: dim / 2 }, (_, i) => 1 / (i + 1)),
        Array.from({ length: seq }, (_, i) => 3 + i),
      );
      const attributes = {
        gain,
        eps: 1e-5,
        q: { weight: q, scale: 0.5, dropout, seed: 3 },
        k: { weight: k, bias, scale: 2, dropout, seed: 4 },
        v: { weight: v, scale: 1, dropout, seed: 5 },
        ...tables,
      };
      await checkProjections(qkv, [batch, seq, hidden], [q, k, v], ranks, attributes, precision);
      for (const owned of [q, k, v, gain, bias, tables.cos, tables.sin]) owned.dispose();
    });
  it('linear over F32 with sizes that no vector width divides', async () => {
    const weight = randomWeight(f32, 13, 29);
    await checkOp(linear, () => ({ x: normal([2, 3, 29]), a: normal([3, 29]), b: normal([13, 3]) }), { weight, scale: 2 });
    weight.dispose();
  });
  for (const [rows, dim, vocabulary, format] of [
    [1, 32, 5, f32],
    [7, 64, 1000, q8_0],
    [50, 32, 777, q4_1],
  ] as const)
    it(`linearCrossEntropy [${rows}, ${dim}] over ${vocabulary} ${format.name}`, async () => {
      const weight = randomWeight(format, vocabulary, dim);
      const labels = tf.tensor1d(
        Array.from({ length: rows }, (_, i) => (i * 37) % vocabulary),
        'int32',
      );
      await checkOp(linearCrossEntropy, () => ({ x: normal([rows, dim], 2) }), { weight, labels, gradient: true }, { tolerance: 5e-5 });
      weight.dispose();
      labels.dispose();
    });
  for (const precision of ['fp32', 'bf16'] as const) {
    for (const [rows, into, out] of [
      [1, 64, 40],
      [3, 29, 13],
      [61, 64, 192],
      [130, 33, 50],
    ])
      it(`dense in ${precision}: [${rows}, ${into}] times [${out}, ${into}]`, () =>
        checkOp(
          dense,
          () => ({ x: normal([1, rows, into]), weight: normal([out, into]) }),
          {},
          { precision, tolerance: precision === 'bf16' ? 1e-2 : 2e-5 },
        ));
    for (const [rows, dim, vocabulary] of [
      [1, 8, 5],
      [7, 33, 600],
      [300, 32, 777],
    ])
      it(`denseCrossEntropy in ${precision}: [${rows}, ${dim}] over ${vocabulary}`, async () => {
        const labels = tf.tensor1d(
          Array.from({ length: rows }, (_, i) => (i * 37) % vocabulary),
          'int32',
        );
        await checkOp(
          denseCrossEntropy,
          () => ({ x: normal([rows, dim], 2), weight: normal([vocabulary, dim]) }),
          { labels },
          { precision, tolerance: precision === 'bf16' ? 2e-2 : 5e-5 },
        );
        labels.dispose();
      });
  }
  it('gatherRows adds up the gradients of a row that is asked for twice', () =>
    withoutLeaks(() => {
      const x = normal([4, 3]) as tf.Tensor2D;
      const made = record(() => gatherRows(x, tf.tensor1d([2, 0, 2], 'int32')));
      const [dx] = made.pullback([x], tf.ones([3, 3]));
      expect(Array.from(dx.dataSync())).toEqual([1, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0]);
      made.dispose();
    }));
  it('add', () => checkOp(add, () => ({ a: normal([3, 5]), b: normal([3, 5]) })));
  for (const rate of [0, 0.1, 0.9]) it(`dropout ${rate}`, () => checkOp(dropout, () => ({ x: normal([33, 65]) }), { rate, seed: 12345 }));
  it('dropout keeps the mean and the share it says', async () => {
    const kept = tf.tidy(
      () =>
        dropout({ x: tf.ones([100000]) }, { rate: 0.25, seed: 3 })
          .notEqual(0)
          .mean()
          .dataSync()[0],
    );
    expect(kept).toBeGreaterThan(0.74);
    expect(kept).toBeLessThan(0.76);
  });
  for (const format of [f32, bf16, q4_1, q8_0, nf4, int8])
    it(`embedding over ${format.name}`, () =>
      withoutLeaks(() => {
        const table = randomWeight(format, 11, 64);
        const ids = tf.tensor2d(
          [
            [0, 10, 3],
            [3, 7, 1],
          ],
          [2, 3],
          'int32',
        );
        const expected = tf.gather(tf.tensor2d(format.decode(table.packed(), 11 * 64, 64), [11, 64]), ids);
        expect(tf.max(tf.abs(tf.sub(tf.gather(table.dequantize(), ids), expected))).dataSync()[0]).toBeLessThan(1e-6);
        expect(tf.max(tf.abs(tf.sub(embedding(ids, table), expected))).dataSync()[0]).toBeLessThan(1e-6);
        table.dispose();
      }));
});

describe('ops without a gradient', () => {
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
      for (const [i, total] of accumulate(sums, parts).entries()) expect(Array.from(total.dataSync())).toEqual(Array.from(expected[i]));
      expect(parts.every((part) => part.isDisposed)).toBe(true);
    }));
  for (const window of [undefined, 20, 1])
    it(`attention through a cache equals attention over everything, window ${window}`, () =>
      withoutLeaks(() => {
        const [groups, dim, seq] = [2, 16, 60];
        const all = normal([1, seq, 8, dim]) as tf.Tensor4D;
        const attributes = { heads: 4, groups, scale: 0.25, window };
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

describe('errors from ops', () => {
  it('name the shapes', () => {
    expect(() => rmsNorm({ x: tf.zeros([2, 3]), weight: tf.zeros([4]) }, { eps: 1 })).toThrow(/\[2,3\].*\[4\]/);
    expect(() => attention({ qkv: tf.zeros([1, 5, 3, 2]) }, { heads: 1, groups: 1, scale: 1, lengths: [2, 4] })).toThrow(
      /2 \+ 4 .*5 tokens/,
    );
    expect(() => swiglu({ gate: tf.zeros([2]), up: tf.zeros([3]) }, {})).toThrow(/\[2\].*\[3\]/);
    expect(() => new Weight(q4_1, [2, 40], new Uint8Array(50))).toThrow(/32 values along a row/);
    expect(() => new Weight(q4_1, [2, 64], new Uint8Array(50))).toThrow(/80 bytes, but 50/);
  });
  it('come out of native code as exceptions', () => {
    const table = randomWeight(f32, 5, 8);
    expect(() => embedding(tf.tensor1d([5], 'int32'), table)).toThrow(/token id 5 is not in \[0, 5\)/);
    const wrong = { kind: f32.code, rows: 5, dim: 9 };
    expect(() => execute('TunebookEmbedding', [tf.tensor1d([1], 'int32'), table.handle!], wrong, 1)).toThrow(/160 bytes is not \[5, 9\]/);
    table.dispose();
  });
  it('say what takes less where memory is short', () => {
    const raw = new Error('Invalid TF_Status: 8\nMessage: an op asked for 12345 MiB, which the system does not give');
    const error = plainError(raw);
    expect(error).toBeInstanceOf(MemoryError);
    expect(error.message).toMatch(/^Out of memory: an op asked for 12345 MiB.*smaller per_device_train_batch_size/);
    expect(plainError(new Error('something else')).message).toBe('something else');
  });
});

it('gatherRows gathers, and scatters gradients back', () =>
  withoutLeaks(() => {
    const x = normal([7, 3]) as tf.Tensor2D;
    const places = tf.tensor1d([5, 0, 3], 'int32');
    const [a, b] = [record(() => gatherRows(x, places)), record(() => tf.gather(x, places))];
    const dy = normal([3, 3]);
    expect(Array.from(a.value.dataSync())).toEqual(Array.from(b.value.dataSync()));
    expect(Array.from(a.pullback([x], dy)[0].dataSync())).toEqual(Array.from(b.pullback([x], dy)[0].dataSync()));
    a.dispose();
    b.dispose();
  }));

describe('the tape', () => {
  it('frees what was saved when a forward pass throws, and when it is not used', () =>
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
  it('gives the same gradients with recomputation', () =>
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
  it('counts native bytes', () => {
    const before = Handle.nativeBytes;
    const handle = Handle.create(new Uint8Array(100));
    expect(Handle.nativeBytes).toBe(before + 100);
    handle.dispose();
    handle.dispose();
    expect(Handle.nativeBytes).toBe(before);
    expect(() => handle.tensorId).toThrow(/disposed/);
  });
});

import { beforeAll, describe, expect, it } from 'vitest';
import { add } from '../../src/engine/ops/add';
import { positionsIn } from '../../src/engine/ops/attention';
import { attentionBlock } from '../../src/engine/ops/attention_block';
import { dropout } from '../../src/engine/ops/dropout';
import { embedding } from '../../src/engine/ops/embedding';
import { gatedMlp } from '../../src/engine/ops/gated_mlp';
import { gatherColumns } from '../../src/engine/ops/gather_columns';
import { gatherRows } from '../../src/engine/ops/gather_rows';
import { geglu } from '../../src/engine/ops/geglu';
import { layerNorm } from '../../src/engine/ops/layer_norm';
import { linear } from '../../src/engine/ops/linear';
import { linearCrossEntropy } from '../../src/engine/ops/linear_cross_entropy';
import { qkv } from '../../src/engine/ops/qkv';
import { rmsNorm } from '../../src/engine/ops/rms_norm';
import { swiglu } from '../../src/engine/ops/swiglu';
import { withPrecision } from '../../src/engine/precision';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { rotaryTables } from '../../src/nn';
import { bf16, f32, nf4, q4_1, q8_0, weightFormats } from '../../src/quantize';
import { checkExact, checkOp, checkProjections, normal, randomWeight, startNative, wholeBlocks, withoutLeaks } from './check_op';

beforeAll(startNative);

const MLP = [
  [96, 64],
  [96, 64],
  [64, 96],
] as const;
const QKV = [
  [64, 64],
  [32, 64],
  [32, 64],
] as const;
const QKVO = [...QKV, [64, 64]] as const;

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
  for (const shift of [0, 1000])
    it(`layerNorm [3, 40] of values around ${shift}, against fp64`, () =>
      checkExact(
        layerNorm,
        { x: tf.add(normal([3, 40]), shift), weight: normal([40]), bias: normal([40]) },
        { eps: 1e-5 },
        ({ x, weight, bias }) => {
          const y = new Float64Array(x.length);
          for (let from = 0; from < x.length; from += 40) {
            const row = x.subarray(from, from + 40);
            const mean = row.reduce((sum, v) => sum + v, 0) / 40;
            const deviation = Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 40 + 1e-5);
            for (let i = 0; i < 40; i++) y[from + i] = ((row[i] - mean) / deviation) * weight[i] + bias[i];
          }
          return y;
        },
        shift ? 1e-4 : 1e-6,
      ));
  for (const format of [undefined, ...weightFormats])
    for (const [rows, wanted, out, rank] of [
      [1, 64, 40, 0],
      [2, 128, 7, 3],
      [5, 192, 50, 16],
      [61, 64, 192, 5],
      [130, 320, 33, 0],
    ]) {
      const into = wholeBlocks(wanted, format);
      it(`linear over ${format?.name ?? 'a trained matrix'}: [${rows}, ${into}] -> ${out}, rank ${rank}`, () =>
        checkProjections(linear, { x: [rows, into], sizes: [[out, into]], format, ranks: [rank], biased: [0] }, ([p]) => p));
    }
  for (const rows of [2, 70])
    for (const format of [undefined, q4_1])
      it(`linear with dropout on its low-rank term over ${format?.name ?? 'a trained matrix'}: [${rows}, 64]`, () =>
        checkProjections(linear, { x: [rows, 64], sizes: [[40, 64]], format, ranks: [5], dropout: 0.3 }, ([p]) => p));
  for (const [format, rows, into, out, rank] of [
    [undefined, 3, 29, 13, 0],
    [undefined, 130, 33, 50, 4],
    [f32, 5, 33, 17, 0],
    [bf16, 40, 64, 100, 0],
    [q4_1, 61, 96, 50, 3],
    [bf16, 130, 70, 33, 16],
    ...weightFormats.filter(({ block }) => block > 1).map((format) => [format, 70, wholeBlocks(96, format), 50, 3] as const),
  ] as const)
    it(`linear in bf16 over ${format?.name ?? 'a trained matrix'}: [${rows}, ${into}] -> ${out}, rank ${rank}`, () =>
      // bf16 has 8 bits: what is rounded on the way (4-bit weights, fp32 weights, the low-rank term) is off by 2^-9.
      checkProjections(
        linear,
        {
          x: [rows, into],
          sizes: [[out, into]],
          format,
          ranks: [rank],
          precision: 'bf16',
          tolerance: format === bf16 && !rank ? 2e-5 : 6e-3,
        },
        ([p]) => p,
      ));
  for (const [side, shape] of [
    ['in', [1, 64]],
    ['out', [40, 1]],
  ] as const)
    it(`linear with scales of zero for what goes ${side} has their gradients`, async () => {
      const weight = randomWeight(q4_1, 40, 64);
      const l0 = () => tf.mul(normal([...shape]), tf.tensor([...Array(shape[0] * shape[1]).keys()].map((i) => i % 2)).reshape([...shape]));
      const none = { a0: tf.zeros([0, 64]), b0: tf.zeros([40, 0]) };
      await checkOp(linear, () => ({ x: normal([9, 64]), ...none, l0: l0() }), { weight, scale: 0 }, { skip: ['a0', 'b0'] });
      weight.dispose();
      tf.dispose(none);
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
      { frozen: weight, labels, gradient: true },
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
            a0: tf.zeros([0, 8]),
            b0: tf.zeros([8, 0]),
          },
          { weight, scale: 0 },
        ).dataSync(),
      ),
    );
    expect(Array.from(y.slice(8, 16)).every(Number.isNaN)).toBe(true);
    expect(Array.from(y.slice(0, 8)).every(Number.isFinite)).toBe(true);
    weight.dispose();
  });
  for (const [format, rows, hidden, inner, ranks, dropout, precision, more = {}] of [
    [q4_1, 61, 64, 96, [16, 5, 3], 0, 'fp32', { act: 'gelu', residual: false }],
    [q4_1, 61, 64, 96, [16, 5, 3], 0, 'fp32', { act: 'gelu_pytorch_tanh' }],
    [bf16, 61, 64, 96, [16, 16, 16], 0, 'bf16', { act: 'gelu_pytorch_tanh', residual: false }],
    [undefined, 130, 33, 70, [0, 0, 0], 0, 'fp32', { residual: false }],
    [q4_1, 61, 64, 96, [16, 5, 3], 0, 'fp32'],
    [bf16, 130, 33, 70, [8, 0, 20], 0.2, 'fp32'],
    [q8_0, 2, 32, 64, [4, 4, 4], 0.3, 'fp32'],
    [f32, 5, 13, 29, [0, 0, 0], 0, 'fp32'],
    [bf16, 61, 64, 96, [16, 16, 16], 0, 'bf16'],
    [undefined, 130, 33, 70, [0, 0, 0], 0, 'fp32'],
    [undefined, 7, 32, 64, [4, 0, 4], 0.3, 'fp32'],
    [undefined, 61, 64, 96, [0, 0, 0], 0, 'bf16'],
  ] as const)
    it(`gatedMlp in ${precision} over ${format?.name ?? 'trained matrices'}: [${rows}, ${hidden}] through ${inner}, ranks ${ranks}, dropout ${dropout}, ${JSON.stringify(more)}`, () => {
      const sizes = [[inner, hidden] as const, [inner, hidden] as const, [hidden, inner] as const];
      return checkProjections(
        gatedMlp,
        { x: [rows, hidden], sizes, format, ranks, dropout, biased: [1], precision },
        ([gate, up, down]) => ({ eps: 1e-5, gate, up, down, ...more }),
      );
    });
  const tables = (dim: number, positions: number[]) =>
    rotaryTables({ frequencies: Array.from({ length: dim / 2 }, (_, i) => 1 / (i + 1)), factor: 1 }, positions);
  for (const [format, batch, seq, hidden, heads, groups, dim, ranks, dropout, precision] of [
    [q4_1, 1, 61, 64, 4, 2, 16, [16, 5, 3], 0, 'fp32'],
    [bf16, 2, 33, 70, 3, 1, 10, [8, 0, 20], 0.2, 'fp32'],
    [q8_0, 1, 2, 32, 2, 2, 16, [4, 4, 4], 0.3, 'fp32'],
    [f32, 3, 1, 13, 1, 1, 2, [0, 0, 0], 0, 'fp32'],
    [bf16, 1, 61, 64, 4, 2, 16, [16, 16, 16], 0, 'bf16'],
    [undefined, 2, 33, 70, 3, 1, 10, [0, 0, 0], 0, 'fp32'],
    [undefined, 1, 61, 64, 4, 2, 16, [0, 4, 0], 0, 'bf16'],
  ] as const)
    it(`qkv in ${precision} over ${format?.name ?? 'trained matrices'}: [${batch}, ${seq}, ${hidden}] to ${heads} + 2 x ${groups} of ${dim}, ranks ${ranks}, dropout ${dropout}`, async () => {
      const sizes = [heads * dim, groups * dim, groups * dim].map((out) => [out, hidden] as const);
      const turn = tables(
        dim,
        Array.from({ length: seq }, (_, i) => 3 + i),
      );
      await checkProjections(qkv, { x: [batch, seq, hidden], sizes, format, ranks, dropout, biased: [1], precision }, ([q, k, v]) => ({
        eps: 1e-5,
        q,
        k,
        v,
        ...turn,
      }));
      tf.dispose(turn);
    });
  for (const [format, lengths, hidden, heads, groups, dim, ranks, dropout, precision, window, more = {}] of [
    [q4_1, [20, 30, 11], 64, 4, 2, 16, [16, 5, 3, 8], 0, 'fp32', undefined, { cap: 0.5, residual: false }],
    [bf16, [24, 17, 20], 64, 4, 2, 16, [16, 16, 16, 16], 0, 'bf16', undefined, { cap: 2, residual: false }],
    [q4_1, [61], 64, 4, 2, 16, [16, 5, 3, 8], 0, 'fp32', undefined],
    [q4_1, [20, 30, 11], 64, 4, 2, 16, [16, 5, 3, 8], 0, 'fp32', undefined],
    [bf16, [33, 100], 70, 3, 1, 10, [8, 0, 20, 4], 0.2, 'fp32', 40],
    [f32, [1, 1], 13, 1, 1, 2, [0, 0, 0, 0], 0, 'fp32', undefined],
    [bf16, [24, 17, 20], 64, 4, 2, 16, [16, 16, 16, 16], 0, 'bf16', undefined],
    [undefined, [33, 100], 70, 3, 1, 10, [0, 4, 0, 0], 0.2, 'fp32', 40],
    [undefined, [24, 17, 20], 64, 4, 2, 16, [0, 0, 0, 0], 0, 'bf16', undefined],
  ] as const)
    for (const prefixed of [false, true])
      it(`attentionBlock in ${precision} over ${format?.name ?? 'trained matrices'}: [${lengths}] of ${hidden}, ${heads} + 2 x ${groups} of ${dim}, ranks ${ranks}, dropout ${dropout}, window ${window}, prefixed ${prefixed}, ${JSON.stringify(more)}`, async () => {
        const seq = lengths.reduce((sum: number, n) => sum + n, 0);
        const sizes = [
          [heads * dim, hidden] as const,
          ...[1, 2].map(() => [groups * dim, hidden] as const),
          [hidden, heads * dim] as const,
        ];
        const layout = { lengths: [...lengths], prefixed };
        const turn = tables(dim, positionsIn(layout));
        // In bf16 more is rounded one after another.
        const tolerance = precision === 'bf16' ? 5e-2 : 3e-5;
        await checkProjections(
          attentionBlock,
          { x: [1, seq, hidden], sizes, format, ranks, dropout, biased: [1, 3], precision, tolerance },
          ([q, k, v, o]) => ({ eps: 1e-5, q, k, v, o, ...turn, scale: 0.2, window, ...layout, ...more }),
        );
        tf.dispose(turn);
      });
  for (const [op, x, sizes, ranks, scaled, format, precision] of [
    [linear, [2, 64], [[40, 64]], [0], ['in'], q4_1, 'fp32'],
    [linear, [3, 64], [[40, 64]], [5], ['out'], nf4, 'fp32'],
    [linear, [130, 70], [[50, 70]], [0], ['in'], f32, 'fp32'],
    [linear, [130, 96], [[50, 96]], [16], ['out'], q8_0, 'fp32'],
    [linear, [61, 192], [[96, 192]], [16], ['out'], q4_1, 'bf16'],
    [linear, [61, 192], [[96, 192]], [0], ['in'], nf4, 'bf16'],
    [gatedMlp, [61, 64], MLP, [0, 0, 0], ['out', 'out', 'in'], q4_1, 'fp32'],
    [gatedMlp, [61, 64], MLP, [4, 0, 16], ['out', undefined, 'out'], q8_0, 'fp32'],
    [gatedMlp, [2, 64], MLP, [4, 0, 0], ['out', 'out', 'in'], q4_1, 'fp32'],
    [gatedMlp, [61, 64], MLP, [0, 0, 0], ['out', 'out', 'in'], q4_1, 'bf16'],
    [qkv, [2, 33, 64], QKV, [8, 0, 4], ['out', 'out', 'out'], q4_1, 'fp32'],
    [qkv, [1, 2, 64], QKV, [0, 0, 0], [undefined, 'out', 'out'], q4_1, 'fp32'],
    [attentionBlock, [1, 61, 64], QKVO, [0, 0, 0, 0], [undefined, 'out', 'out', 'in'], q4_1, 'fp32'],
    [attentionBlock, [1, 61, 64], QKVO, [8, 8, 8, 8], ['out', 'out', 'out', 'out'], q4_1, 'fp32'],
    [attentionBlock, [1, 61, 64], QKVO, [2, 2, 2, 0], ['out', 'out', 'out', 'in'], q4_1, 'bf16'],
  ] as const)
    it(`${op.spec.name} in ${precision} over ${format.name} with scales ${scaled.map((side) => side ?? 'none')}: [${x}], ranks ${ranks}`, async () => {
      // Tables with a factor of their own, as yarn has them.
      const turn = rotaryTables(
        { frequencies: [1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01], factor: 1.3 },
        Array.from({ length: x.at(-2) as number }, (_, i) => i),
      );
      const attributes = { eps: 1e-5, ...turn, scale: 0.2 };
      await checkProjections(
        op,
        { x: [...x], sizes: [...sizes], format, ranks, scaled, biased: [0, 1], precision, tolerance: precision === 'bf16' ? 5e-2 : 5e-5 },
        ([first, second, third, fourth]) =>
          op === linear
            ? first
            : op === gatedMlp
              ? { ...attributes, gate: first, up: second, down: third }
              : { ...attributes, q: first, k: second, v: third, o: fourth },
      );
      tf.dispose(turn);
    });
  for (const format of [f32, undefined])
    it(`linear over ${format?.name ?? 'a trained matrix'} with sizes that no vector width divides`, () =>
      checkProjections(linear, { x: [2, 3, 29], sizes: [[13, 29]], format, ranks: [3] }, ([p]) => p));
  it('a gradient that nobody asks for is not made, and the others are the same', () =>
    withoutLeaks(() => {
      const given = { x: normal([5, 8]), w0: normal([6, 8]), a0: normal([2, 8]), b0: normal([6, 2]), bias0: normal([6]) };
      const gradients = (wrt: tf.Tensor[]) => {
        const made = record(() => linear(given, { scale: 1 }));
        const found = made.pullback(wrt, tf.ones([5, 6])).map((t) => Array.from(t.dataSync()));
        made.dispose();
        return found;
      };
      const all = gradients(Object.values(given));
      for (const [i, tensor] of Object.values(given).entries()) expect(gradients([tensor])[0]).toEqual(all[i]);
      const asked = { inputs: given, wanted: 0b01001 };
      const u = tf.matMul(given.x as tf.Tensor2D, given.a0 as tf.Tensor2D, false, true);
      const made = linear.spec.native?.backward(tf.ones([5, 6]), [u], { scale: 1 }, asked);
      expect(made?.map((t) => t?.shape ?? null)).toEqual([[5, 8], null, null, [6, 2]]);
    }));
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
  for (const format of weightFormats)
    it(`embedding over ${format.name}`, () =>
      withoutLeaks(() => {
        const dim = wholeBlocks(64, format);
        const table = randomWeight(format, 11, dim);
        const ids = tf.tensor2d(
          [
            [0, 10, 3],
            [3, 7, 1],
          ],
          [2, 3],
          'int32',
        );
        const expected = tf.gather(tf.tensor2d(format.decode(table.packed(), 11 * dim, dim), [11, dim]), ids);
        expect(tf.max(tf.abs(tf.sub(tf.gather(table.dequantize(), ids), expected))).dataSync()[0]).toBeLessThan(1e-6);
        expect(tf.max(tf.abs(tf.sub(embedding(ids, table), expected))).dataSync()[0]).toBeLessThan(1e-6);
        table.dispose();
      }));
  it('a place that is still is read, and gets no gradient', () =>
    withoutLeaks(() => {
      const x = normal([3, 3]) as tf.Tensor2D;
      const places = tf.tensor1d([2, 0, 2], 'int32');
      for (const [gather, expected] of [
        [gatherRows, [1, 1, 1, 0, 0, 0, 0, 0, 0]],
        [gatherColumns, [1, 0, 0, 1, 0, 0, 1, 0, 0]],
      ] as const) {
        const made = record(() => gather(x, places, 2));
        expect(Array.from(made.value.dataSync())).toEqual(Array.from(gather(x, places).dataSync()));
        expect(Array.from(made.pullback([x], tf.ones([3, 3]))[0].dataSync())).toEqual(expected);
        made.dispose();
        const twice = record(() => tf.add(tf.sum(x), tf.sum(gather(x, places, 2))));
        expect(Array.from(twice.pullback([x])[0].dataSync())).toEqual(expected.map((v) => v + 1));
        twice.dispose();
      }
    }));
  it('gatherColumns gives columns as rows, and adds up the gradients of one that is asked for twice', () =>
    withoutLeaks(() => {
      const x = normal([3, 5]) as tf.Tensor2D;
      const places = tf.tensor1d([4, 0, 4, 2], 'int32');
      const [a, b] = [record(() => gatherColumns(x, places)), record(() => tf.matMul(tf.oneHot(places, 5), x, false, true))];
      const dy = normal([4, 3]);
      expect(Array.from(a.value.dataSync())).toEqual(Array.from(b.value.dataSync()));
      const [da, db] = [a.pullback([x], dy)[0], b.pullback([x], dy)[0]];
      expect(tf.max(tf.abs(tf.sub(da, db))).dataSync()[0]).toBeLessThan(1e-6);
      a.dispose();
      b.dispose();
    }));
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
  it('gatherRows adds to the gradient that a matrix has already, but never to values that another one shares', () =>
    withoutLeaks(() => {
      const [x, z] = [normal([4, 3]), normal([4, 3])] as tf.Tensor2D[];
      const places = tf.tensor1d([2, 0, 2], 'int32');
      const expected = tf.add(tf.ones([4, 3]), tf.scatterND(tf.expandDims(places, 1), tf.ones([3, 3]), [4, 3]));
      const own = record(() => tf.add(tf.sum(gatherRows(x, places)), tf.sum(x)));
      expect(Array.from(own.pullback([x])[0].dataSync())).toEqual(Array.from(expected.dataSync()));
      // the gradients of x and of z are one tensor's values until the rows are added
      const shared = record(() => tf.add(tf.sum(gatherRows(x, places)), tf.sum(add({ a: x, b: z }, {}))));
      const [dx, dz] = shared.pullback([x, z]);
      expect(Array.from(dx.dataSync())).toEqual(Array.from(expected.dataSync()));
      expect(Array.from(dz.dataSync())).toEqual(Array(12).fill(1));
      own.dispose();
      shared.dispose();
    }));
});

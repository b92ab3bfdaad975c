import { beforeAll, describe, expect, it } from 'vitest';
import { Handle } from '../../src/engine/backend';
import { type DecoderPlan, NativeDecoder, type PlannedLayer, type StepRow } from '../../src/engine/ops/decode';
import * as tf from '../../src/engine/tf';
import { Weight, type WeightFormat } from '../../src/engine/weights';
import { bf16, f32, q4_0, q4_1, q8_0, weightFormats } from '../../src/quantize';
import { normal, startNative } from './check_op';
import { decodeReference } from './decode_reference';

beforeAll(startNative);

/** A row's tokens; more than a tile of rows, more than a tile of keys, and more than a page of them. */
const TOKENS = Array.from({ length: 83 }, (_, i) => (i * 7 + 3) % 61);

interface Shape {
  hidden?: number;
  inner?: number;
  heads?: number;
  groups?: number;
  dim?: number;
  vocabulary?: number;
  layers?: number;
  format?: WeightFormat;
  /** Parameters instead of packed matrices. */
  plain?: boolean;
  joined?: boolean;
  gated?: boolean;
  biases?: boolean;
  adapters?: number;
  plan?: (made: DecoderPlan, owned: Weight[]) => Partial<DecoderPlan>;
}

const frequencies = (half: number) => Array.from({ length: half }, (_, i) => 1000 ** (-i / half));

/** A random decoder; its tensors belong to the scope that calls, its weights are in `owned`. */
function random(shape: Shape, owned: Weight[]): DecoderPlan {
  const { hidden = 64, inner = 96, heads = 4, groups = 2, dim = 16, vocabulary = 61, layers = 2, format = f32, gated = true } = shape;
  const layer = (out: number, into: number, packed = format): PlannedLayer => {
    const values = normal([out, into], 1 / Math.sqrt(into));
    const weight = shape.plain ? values : new Weight(packed, [out, into], packed.encode!(values.dataSync() as Float32Array, into));
    if (weight instanceof Weight) owned.push(weight);
    const pairs = Array.from({ length: shape.adapters ?? 0 }, (_, slot) => ({
      ...{ a: normal([slot ? 5 : 16, into], 0.2), b: normal([out, slot ? 5 : 16], 0.2), scale: 0.3, slot },
    }));
    return { weight, bias: shape.biases ? normal([out], 0.3) : undefined, pairs };
  };
  const norm = (size = hidden) => ({ kind: 'rms' as const, gain: tf.add(1, normal([size], 0.1)), eps: 1e-5 });
  const table = layer(vocabulary, hidden);
  const plan: DecoderPlan = {
    ...{ hidden, inner, heads, groups, dim, activation: 'silu' },
    rotations: () => [{ frequencies: frequencies(dim / 2), factor: 1 }],
    embed: { weight: table.weight },
    blocks: Array.from({ length: layers }, () => ({
      rotation: 0,
      norms: { beforeAttention: norm(), beforeMlp: norm() },
      q: layer((shape.joined ? heads + 2 * groups : heads) * dim, hidden),
      ...(shape.joined ? {} : { k: layer(groups * dim, hidden), v: layer(groups * dim, hidden) }),
      o: layer(hidden, heads * dim),
      ...(shape.joined || !gated ? {} : { gate: layer(inner, hidden) }),
      ...{ up: layer(shape.joined ? 2 * inner : inner, hidden), down: layer(hidden, inner) },
    })),
    last: norm(),
    head: { ...table, bias: undefined },
  };
  return Object.assign(plan, shape.plan?.(plan, owned));
}

/** Logits [tokens, vocabulary]; in `blocks` of so many tokens at once. */
function decoded(plan: DecoderPlan, tokens: number[], blocks: number[], slots = 1): Float32Array {
  const decoder = new NativeDecoder(plan);
  const all: Float32Array[] = [];
  let position = 0;
  for (const count of blocks) {
    const rows: StepRow[] = tokens
      .slice(position, position + count)
      .map((token, i) => ({ token, sequence: 0, position: position + i, wanted: true, slots }));
    position += count;
    const logits = decoder.step(rows);
    all.push(logits.dataSync() as Float32Array);
    logits.dispose();
  }
  decoder.dispose();
  return Float32Array.from(all.flatMap((part) => [...part]));
}

/** Root mean square of the difference, in those of the reference. */
function distance(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  let [off, all] = [0, 0];
  for (const [i, x] of b.entries()) {
    off += (a[i] - x) ** 2;
    all += x ** 2;
  }
  return Math.sqrt(off / all);
}

/** One by one after a block, and all at once. */
const ONE_BY_ONE = [70, ...Array(13).fill(1)];
const AT_ONCE = [83];

function check(shape: Shape, tolerance: number, slots = 1): void {
  const owned: Weight[] = [];
  const before = [tf.memory().numTensors, Handle.nativeBytes];
  tf.engine().startScope();
  const plan = random(shape, owned);
  const packed = owned.map((weight) => weight.packed());
  const reference = decodeReference(plan, TOKENS, slots);
  for (const blocks of [ONE_BY_ONE, AT_ONCE]) expect(distance(decoded(plan, TOKENS, blocks, slots), reference)).toBeLessThan(tolerance);
  for (const [i, weight] of owned.entries()) expect(weight.packed()).toEqual(packed[i]);
  for (const weight of owned) weight.dispose();
  tf.engine().endScope();
  expect([tf.memory().numTensors, Handle.nativeBytes]).toEqual(before);
}

describe('the decode op is its reference composition', () => {
  const EXACT: Record<string, Shape> = {
    'grouped heads': {},
    'odd sizes': { hidden: 36, inner: 52, heads: 3, groups: 1, dim: 10, vocabulary: 67 },
    'heads of 80, seven to a group': { hidden: 40, heads: 7, groups: 1, dim: 80 },
    'heads of 128': { heads: 2, groups: 2, dim: 128 },
    'heads of 256': { heads: 1, groups: 1, dim: 256 },
    biases: { biases: true },
    'matrices that are parameters': { plain: true },
    'joined matrices': { joined: true },
    'no gate, layer norms, learned positions, gelu': {
      gated: false,
      biases: true,
      plan: (made) => ({
        activation: 'gelu_tanh',
        rotations: () => [],
        positions: { weight: normal([128, 64], 0.5) },
        blocks: made.blocks.map((block) => ({
          ...block,
          rotation: undefined,
          norms: { beforeAttention: layerNorm(), beforeMlp: layerNorm() },
        })),
        last: layerNorm(),
      }),
    },
    'norms of heads and after, a window, caps, multipliers, part of a head turned': {
      plan: (made) => ({
        activation: 'gelu',
        rotations: () => [3, 4].map((factor) => ({ frequencies: frequencies(6), factor: factor / 3 })),
        scales: { embeddings: 3, residual: 0.4, scores: 0.3, logits: 0.7 },
        caps: { scores: 2, logits: 1.5 },
        blocks: made.blocks.map((block, i) => ({
          ...block,
          ...{ rotation: i, window: i ? undefined : 19 },
          norms: {
            ...block.norms,
            ...{ queries: headNorm(), keys: headNorm(), afterAttention: offsetNorm(), afterMlp: offsetNorm() },
          },
        })),
      }),
    },
    'what scales': {
      plan: (made) => ({
        blocks: made.blocks.map((block) => ({
          ...block,
          q: { ...block.q, scales: [{ vector: normal([64, 1]), out: true }] },
          down: {
            ...block.down,
            scales: [
              { vector: normal([1, 96]), out: false },
              { vector: normal([64, 1]), out: true },
            ],
          },
        })),
      }),
    },
  };
  const layerNorm = () => ({ kind: 'layer' as const, gain: normal([64]), shift: normal([64], 0.2), eps: 1e-5 });
  const headNorm = () => ({ kind: 'rms' as const, gain: normal([16]), eps: 1e-6 });
  const offsetNorm = () => ({ kind: 'rms' as const, gain: normal([64], 0.1), eps: 1e-6, offset: 1 });
  for (const [what, shape] of Object.entries(EXACT)) it(what, () => check(shape, 2e-5));

  it('adapters, each row its own', () => {
    for (const slots of [0, 1, 2, 3]) check({ adapters: 2 }, 2e-5, slots);
    check({ adapters: 1, format: q4_1, hidden: 64 }, 0.03);
  });
  // Activations are rounded to 8 bits beside kinds with codes, and so are tables of values; keys, values and pairs to fp16 beside all but fp32.
  for (const format of weightFormats)
    it(`${format.name}`, () =>
      check(
        { format, hidden: 256, inner: 512, heads: 4, dim: 64, layers: 1 },
        format.block === 1 ? 1e-3 : /F.?4/.test(format.name) ? 0.04 : 0.02,
      ));
  it('matrices of different kinds', () =>
    check(
      {
        format: q8_0,
        plan: (made, owned) => ({
          blocks: made.blocks.map((block) => ({ ...block, v: { weight: normal([32, 64], 0.1) }, o: other(q4_0, 64, 64, owned) })),
        }),
      },
      0.03,
    ));
  const other = (format: WeightFormat, out: number, into: number, owned: Weight[]): PlannedLayer => {
    const values = normal([out * into], 0.1).dataSync() as Float32Array;
    const weight = new Weight(format, [out, into], format.encode!(values, into));
    owned.push(weight);
    return { weight };
  };
});

it('sequences of different lengths go on together, are copied and cut, and see nothing of each other', () => {
  const owned: Weight[] = [];
  tf.engine().startScope();
  const plan = random({ adapters: 2 }, owned);
  const texts = [TOKENS, TOKENS.slice(5), TOKENS.slice(11), [4]];
  const expected = [1, 2, 3, 0].map((slots, i) => decodeReference(plan, texts[i], slots));
  const decoder = new NativeDecoder(plan);
  const vocabulary = 61;
  const row = (sequence: number, position: number, wanted = true): StepRow => ({
    ...{ token: texts[sequence][position], sequence, position, wanted, slots: [1, 2, 3, 0][sequence] },
  });
  const run = (rows: StepRow[]) => {
    const logits = decoder.step(rows).dataSync() as Float32Array;
    for (const [i, { sequence, position }] of rows.filter(({ wanted }) => wanted).entries()) {
      const [got, all] = [logits.subarray(i * vocabulary, (i + 1) * vocabulary), expected[sequence]];
      expect(distance(got, all.subarray(position * vocabulary, (position + 1) * vocabulary)), `${sequence} at ${position}`).toBeLessThan(
        2e-5,
      );
    }
  };
  run([...Array.from({ length: 70 }, (_, i) => row(0, i, i === 69)), ...Array.from({ length: 9 }, (_, i) => row(2, i, i > 6)), row(3, 0)]);
  run([row(2, 9), ...Array.from({ length: 40 }, (_, i) => row(1, i, i % 13 === 0)), row(0, 70)]);
  run([row(1, 40), row(0, 71), row(2, 10)]);
  // A copy goes on alone, on pages that were shared, and so does what it was made of.
  decoder.copy(0, 4, 66);
  const again = decoder.step([{ ...row(0, 66), sequence: 4 }]).dataSync() as Float32Array;
  expect(distance(again, expected[0].subarray(66 * vocabulary, 67 * vocabulary))).toBeLessThan(2e-5);
  const elsewhere = decoder.step([{ token: 9, sequence: 4, position: 67, wanted: false }]);
  elsewhere.dispose();
  run([row(0, 72)]);
  decoder.copy(0, 0, 40);
  run([row(0, 40)]);
  expect(decoder.cacheBytes).toBeGreaterThan(0);
  const [best] = decoder.step([row(0, 41)], true).dataSync();
  const logits = expected[0].subarray(41 * vocabulary, 42 * vocabulary);
  expect(best).toBe(logits.indexOf(Math.max(...logits)));
  decoder.dispose();
  for (const weight of owned) weight.dispose();
  tf.engine().endScope();
});

it('wrong plans and rows are refused', () => {
  const owned: Weight[] = [];
  tf.engine().startScope();
  const plan = random({}, owned);
  expect(() => new NativeDecoder({ ...plan, heads: 3 })).toThrow(/heads do not fit/);
  expect(() => new NativeDecoder({ ...plan, last: { kind: 'rms', gain: normal([5]), eps: 0 } })).toThrow(/gain of 5 values where 64/);
  expect(() => new NativeDecoder({ ...plan, inner: 95 })).toThrow(/a layer of \[96, 64\] where \[95, 64\]/);
  const decoder = new NativeDecoder(plan);
  expect(() => decoder.step([{ token: 61, sequence: 0, position: 0, wanted: true }])).toThrow(
    /token id 61 at position 0 is not in \[0, 61\)/,
  );
  expect(() => decoder.step([{ token: -1, sequence: 0, position: 0, wanted: true }])).toThrow(/token id -1/);
  expect(() => decoder.step([{ token: 1, sequence: 0, position: 200, wanted: true }])).toThrow(/positions are left out/);
  decoder.dispose();
  expect(() => decoder.step([{ token: 1, sequence: 0, position: 0, wanted: true }])).toThrow(/disposed/);
  for (const weight of owned) weight.dispose();
  tf.engine().endScope();
});

it('a matrix in groups is what it was: rows behind the last 16 too, and for other ops at once', () => {
  for (const format of weightFormats)
    for (const rows of [3, 16, 37]) {
      const columns = 2 * Math.max(64, format.block);
      const bytes = format.encode!(normal([rows * columns]).dataSync() as Float32Array, columns);
      const weight = new Weight(format, [rows, columns], bytes);
      const values = weight.dequantize().dataSync();
      if (!weight.inGroups()) expect([...(weight.handle as Handle).data()]).toEqual([...bytes]);
      expect(weight.dequantize().dataSync()).toEqual(values);
      weight.inGroups();
      expect([...weight.packed()]).toEqual([...bytes]);
      weight.dispose();
    }
  const many = new Weight(bf16, [33, 5], bf16.encode!(normal([165]).dataSync() as Float32Array, 5));
  const before = many.packed();
  many.inGroups();
  expect(many.packed()).toEqual(before);
  many.dispose();
});

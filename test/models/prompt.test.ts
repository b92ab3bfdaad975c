import { beforeAll, expect, it } from 'vitest';
import { record } from '../../src/engine/tape';
import * as tf from '../../src/engine/tf';
import { AutoModelForCausalLM } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { ForwardOptions } from '../../src/models/decoder';
import { Parameter } from '../../src/nn';
import { tinyLlama } from '../tiny';

const WORDS = [7, 3, 200, 31];
const rows = [
  [5, 9, 200, 3],
  [2, 6, 7, 41],
];
let model: CausalLM;
/** The embeddings of some words, as a learned prompt: rows after it must be as if they began with these words. */
let learned: Parameter;
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
  learned = new Parameter(tf.keep(tf.tidy(() => tf.squeeze(model.decoder.embed(int([WORDS])), [0]))));
});
const int = (ids: number[][]) => tf.tensor2d(ids, [ids.length, ids[0].length], 'int32');
const prompt = () => ({ length: WORDS.length, rows: () => learned.tensor as tf.Tensor2D });
const states = (ids: number[][], options?: ForwardOptions) => tf.tidy(() => model.hidden(int(ids), options).arraySync());
function prompted<T>(f: () => T): T {
  model.decoder.prompt = prompt();
  try {
    return f();
  } finally {
    model.decoder.prompt = undefined;
  }
}
const expectAlike = (a: unknown, b: unknown) => {
  const [x, y] = [a, b].map((values) => (values as number[][]).flat(3) as number[]);
  expect(x.length).toBe(y.length);
  expect(Math.max(...x.map((v, i) => Math.abs(v - y[i])))).toBeLessThan(1e-4);
};

it('rows after a learned prompt are as if they began with it: batches, layouts, places, a cache', () => {
  const whole = states(rows.map((row) => [...WORDS, ...row])).map((row) => row.slice(WORDS.length));
  const flat = [rows.flat()];
  const common = [[...rows[0].slice(0, 2), ...rows[0].slice(2), ...rows[1].slice(2)]];
  const shared = states([[...WORDS, ...rows[0]]])[0].slice(WORDS.length);
  prompted(() => {
    expectAlike(states(rows), whole);
    expectAlike(states(flat, { layout: { lengths: [4, 4] } }), [whole.flat()]);
    expectAlike(states(common, { layout: { lengths: [2, 2, 2], prefixed: true } })[0].slice(0, 4), shared);
    const at = tf.tensor1d([3, 7, 3], 'int32');
    expectAlike(states(flat, { layout: { lengths: [4, 4] }, at }), [[whole[0][3], whole[1][3], whole[0][3]]]);
    const cache = model.newCache(4);
    expect(cache.capacity).toBe(8);
    const steps = rows[0].map((id) => states([[id]], { cache })[0]);
    expect(cache.length).toBe(8);
    expectAlike(steps, whole[0]);
    cache.dispose();
    expect(() => states([Array(509).fill(1)])).toThrow(/513 tokens \(4 of them a learned prompt\) are more than the 512 positions/);
    expect(model.positions).toBe(508);
  });
  expect([...model.namedTensors()].some(([, t]) => t === learned)).toBe(false);
});

it("a prompt's gradient, with recomputation too, is that of embeddings put before the rows", () => {
  const layout = { lengths: [2, 2, 2], prefixed: true };
  const given = [int([[5, 9, 4, 3, 7, 41]]), tf.tensor1d([2, 3, 5], 'int32'), tf.tensor1d([3, 8, 9], 'int32'), 0.5] as const;
  const gradient = (recompute: boolean) => {
    const options = { layout, ...(recompute && { recompute: { parameters: () => [] } }) };
    return record(() => model.loss(...given, options))
      .pullback([learned.tensor])[0]
      .arraySync() as number[][];
  };
  const [kept, again] = tf.tidy(() => prompted(() => [gradient(false), gradient(true)]));
  expectAlike(kept, again);
  // by differences, along one direction
  const direction = tf.randomNormal(learned.tensor.shape, 0, 1, 'float32', 4);
  const value = (step: number) =>
    tf.tidy(() => {
      model.decoder.prompt = { length: WORDS.length, rows: () => tf.add(learned.tensor, tf.mul(direction, step)) as tf.Tensor2D };
      return model.loss(...given, { layout }).dataSync()[0];
    });
  const slope = (value(3e-3) - value(-3e-3)) / 6e-3;
  model.decoder.prompt = undefined;
  const along = tf.tidy(() => tf.sum(tf.mul(direction, tf.tensor2d(kept))).dataSync()[0]);
  expect(Math.abs(along)).toBeGreaterThan(1e-2);
  expect(Math.abs(slope / along - 1)).toBeLessThan(2e-2);
  direction.dispose();
});

import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import {
  ADAPTER_SCHEMA,
  type AdapterData,
  adapterCsv,
  adapterPayload,
  adapterSummary,
  cumulativeEnergy,
  effectiveRank,
  heatmapSpec,
  historySpec,
  inspectFile,
  kindsOf,
  overlapSpec,
  PAPER,
  parseAdapter,
  placeOf,
  spectrumSpec,
  stableRank,
  usedRank,
} from '../../views/src';
import { readTensors } from '../../views/src/adapter_file';
import { hostile } from './hostile';

const viaJson = (value: unknown) => JSON.parse(JSON.stringify(value));
const named = (name: string, singular: number[], more = {}) => ({
  ...{ name, outFeatures: 1024, inFeatures: 1024, rank: singular.length, trained: singular.length * 2048 },
  ...{ delta: Math.hypot(...singular), weight: 50, singular, ...more },
});
const adapter = (more: Partial<AdapterData> = {}): AdapterData => ({
  ...{ name: '<b>out</b>', method: 'LORA', base: 'base', createdAt: '2026-01-01T00:00:00Z', total: 1e6, notes: [] },
  modules: [
    named('model.layers.0.mlp.up_proj', [4, 3, 0]),
    named('model.layers.0.self_attn.q_proj', Array(16).fill(1)),
    named('model.layers.10.self_attn.q_proj', [2]),
  ],
  history: [
    { step: 10, deltas: [1, 2, 3], effectiveRanks: [1, 1.5, 1] },
    { step: 20, deltas: [2, 3, 4], effectiveRanks: [1, 1.75, 1] },
  ],
  overlap: { other: 'other', reads: [0.5, null, 1], writes: [0.25, null, 1] },
  merge: { format: 'bf16', tokens: 9, drift: 0.01, spread: 2, agreement: 1 },
  ...more,
});

it('an adapter survives its payload, and others are refused with what is wrong', () => {
  const payload = viaJson(adapterPayload(adapter()));
  expect(parseAdapter(payload)).toEqual(adapter());
  expect(parseAdapter({ ...payload, schemaVersion: 3 })).toMatch(/newer tunebook \(schema 3\)/);
  expect(parseAdapter({ ...payload, modules: [{ ...payload.modules[0], singular: '1 2' }] })).toMatch(/do not fit its modules/);
  expect(parseAdapter({ ...payload, history: [{ ...payload.history[0], deltas: '1' }] })).toMatch(/do not fit its modules/);
  expect(parseAdapter({ ...payload, total: 'x' })).toMatch(/total is not of type number or null/);
});

it('20,000 hostile payloads are refused with a sentence or drawn, quickly', async () => {
  const { default: Ajv } = await import('ajv/dist/2020');
  const validate = new Ajv({ allowUnionTypes: true }).compile(ADAPTER_SCHEMA);
  const random = Random.seeded(8);
  let taken = 0;
  for (let i = 0; i < 20_000; i++) {
    const payload = hostile(random, viaJson(adapterPayload(adapter())));
    const result = parseAdapter(payload);
    if (i < 2000 && !validate(payload)) expect(typeof result).toBe('string');
    if (typeof result === 'string') continue;
    taken++;
    const text = [adapterSummary(result), heatmapSpec(result, PAPER), spectrumSpec(result.modules, PAPER), adapterCsv(result)];
    expect(JSON.stringify([...text, historySpec(result, PAPER), overlapSpec(result, PAPER)])).not.toMatch(/NaN/);
  }
  expect(taken).toBeGreaterThan(1000);
});

it('ranks and energies are what their definitions say', () => {
  expect(cumulativeEnergy([4, 3])).toEqual([16 / 25, 1]);
  expect([usedRank([4, 3, 0]), usedRank([10, 0.1]), usedRank(Array(16).fill(1)), usedRank([0, 0])]).toEqual([2, 1, 16, 0]);
  expect([stableRank([4, 3]), stableRank([0])]).toEqual([25 / 16, 0]);
  expect(effectiveRank([1, 1, 1, 1])).toBeCloseTo(4, 12);
  expect(effectiveRank([1, 0])).toBeCloseTo(1, 12);
});

it('modules have a layer and a kind, in the order of a block', () => {
  expect(placeOf('model.layers.10.self_attn.q_proj')).toEqual({ layer: 10, kind: 'q_proj' });
  expect(placeOf('lm_head')).toEqual({ layer: -1, kind: 'lm_head' });
  expect(kindsOf(adapter().modules)).toEqual(['q_proj', 'up_proj']);
});

it("the summary does the seeds' arithmetic", () => {
  const rows = new Map(adapterSummary(adapter()));
  expect(rows.get('for one module')).toBe(
    'q_proj, 1,024 x 1,024: 1,048,576 values stay frozen; at r = 16, 16 x (1,024 + 1,024) = 32,768 are trained',
  );
  expect(rows.get('largest |dW| / |W|')).toBe('10 % in model.layers.0.mlp.up_proj');
  expect(rows.get('directions in use')).toBe('1 to 16 of 16 hold 99 % of an update');
  const alone = adapter({ modules: adapter().modules.map((m) => ({ ...m, weight: null })), total: null });
  expect(new Map(adapterSummary(alone)).get('largest |dW|')).toBe('5 in model.layers.0.mlp.up_proj');
});

it('damaged files are refused with a sentence, whatever their bytes', async () => {
  const header = JSON.stringify({
    'x.lora_A.weight': { dtype: 'F32', shape: [1, 2], data_offsets: [0, 8] },
    y: { dtype: 'F16', shape: [2], data_offsets: [8, 12] },
  });
  const file = (text: string, data = 12) => {
    const bytes = new Uint8Array(8 + text.length + data);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(new TextEncoder().encode(text), 8);
    return bytes;
  };
  const whole = await inspectFile(file(header).buffer, undefined);
  expect(whole).toMatchObject({
    modules: [
      { name: 'y', delta: 0 },
      { name: 'x.lora_A.weight', rank: 0 },
    ],
  });
  expect((whole as { notes: string[] }).notes).toHaveLength(3);
  for (const wrong of [
    new Uint8Array(3),
    file('{', 0),
    file('[1]'),
    file(header, 11),
    file(header.replace('F16', 'I64')),
    file(header.replace('[1,2]', '[-1,-2]')),
  ])
    expect(typeof readTensors(wrong.buffer)).toBe('string');
  const random = Random.seeded(2);
  for (let i = 0; i < 5000; i++) {
    const bytes = file(header);
    for (let k = 1 + random.below(4); k > 0; k--) bytes[random.below(bytes.length)] = random.below(256);
    const result = await inspectFile(bytes.buffer, { lora_alpha: 'x', r: [] });
    if (typeof result === 'string') expect(result).toMatch(/\.$/);
  }
});

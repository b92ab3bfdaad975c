import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import {
  BARS,
  errorSpec,
  levelsSpec,
  PAPER,
  parseQuantization,
  QUANTIZATION_SCHEMA,
  type QuantizationData,
  quantizationPayload,
  quantizationRows,
  quantizationSpec,
  quantizationSummary,
  worstOf,
} from '../../views/src';
import { hostile } from './hostile';

const viaJson = (value: unknown) => JSON.parse(JSON.stringify(value));
const KINDS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

const report = (over: Partial<QuantizationData> = {}): QuantizationData => ({
  name: 'a-model',
  format: 'nf4 with double quantisation',
  createdAt: '2026-11-26T08:00:00.000Z',
  notes: [],
  bytes: 51_600,
  plainBytes: 200_000,
  levels: [-1, -0.5, 0, 0.25, 1],
  modules: [0, 1].flatMap((layer) =>
    KINDS.map((kind, i) => ({
      name: `model.layers.${layer}.self_attn.${kind}`,
      outFeatures: 64,
      inFeatures: 128,
      error: 0.08 + 0.001 * i + 0.01 * layer,
      largest: 0.01,
      histogram: Array.from({ length: BARS }, (_, bar) => Math.max(0, 32 - Math.abs(bar - 32))),
    })),
  ),
  ...over,
});

it('a report survives its payload, and others are refused with what is wrong', () => {
  const payload = viaJson(quantizationPayload(report()));
  expect(parseQuantization(payload)).toEqual(report());
  expect(parseQuantization({ ...payload, schemaVersion: 3 })).toMatch(/newer tunebook \(schema 3\)/);
  expect(parseQuantization({ ...payload, levels: '-2 0' })).toMatch(/do not fit/);
  expect(parseQuantization({ ...payload, modules: [{ ...payload.modules[0], histogram: '1 2' }] })).toMatch(/do not fit/);
  expect(worstOf(report())?.name).toBe('model.layers.1.self_attn.down_proj');
  expect(Object.fromEntries(quantizationSummary(report()))).toMatchObject({
    'packed as': 'nf4 with double quantisation',
    'largest error': '9.6 %: model.layers.1.self_attn.down_proj',
  });
  expect(quantizationRows(report())[0]).toEqual(['model.layers.0.self_attn.q_proj', '64 x 128', '8 %', '0.01']);
});

it('charts fit the page and no label is cut', async () => {
  const [{ compile }, { parse, View }] = await Promise.all([import('vega-lite'), import('vega')]);
  const drawn = async (spec: object) => {
    const view = new View(parse(compile(spec as never).spec), { renderer: 'none' });
    const svg = await view.toSVG();
    view.finalize();
    return svg;
  };
  const data = report();
  for (const width of [420, 560, 1000])
    for (const spec of [
      errorSpec(data, PAPER, { selected: data.modules[3].name, width }),
      levelsSpec(data.modules[0], data.levels, PAPER, width),
    ]) {
      const svg = await drawn(spec);
      expect(Number(svg.match(/width="([\d.]+)"/)?.[1])).toBeLessThanOrEqual(width);
      expect(svg).not.toContain('…');
    }
  const picture = await drawn(quantizationSpec(data, worstOf(data), PAPER));
  // A rule for each level, under the heatmap.
  expect(picture.match(/stroke="#d55e00"/g)?.length).toBe(data.levels.length);
});

it('20,000 hostile payloads are refused with a sentence or drawn, quickly', async () => {
  const { default: Ajv } = await import('ajv/dist/2020');
  const validate = new Ajv({ allowUnionTypes: true }).compile(QUANTIZATION_SCHEMA);
  const random = Random.seeded(9);
  const one = viaJson(quantizationPayload(report({ modules: report().modules.slice(0, 2) })));
  let taken = 0;
  for (let i = 0; i < 20_000; i++) {
    const payload = hostile(random, viaJson(one));
    const result = parseQuantization(payload);
    if (i < 2000 && !validate(payload)) expect(typeof result).toBe('string');
    if (typeof result === 'string') continue;
    taken++;
    const text = [quantizationSummary(result), quantizationRows(result), quantizationSpec(result, worstOf(result), PAPER)];
    expect(JSON.stringify(text)).not.toMatch(/NaN|Infinity/);
  }
  expect(taken).toBeGreaterThan(500);
});

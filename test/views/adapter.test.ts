import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import {
  ADAPTER_SCHEMA,
  adapterCsv,
  adapterPayload,
  adapterSummary,
  betweenSpec,
  condition,
  conditionSpec,
  cumulativeEnergy,
  effectiveRank,
  heatmapSpec,
  historySpec,
  inspectFile,
  kindsOf,
  layersOverlap,
  layersSpec,
  moduleIn,
  overlap,
  overlapSpec,
  PAPER,
  parseAdapter,
  placeOf,
  spectrumSpec,
  stableRank,
  usedRank,
} from '../../views/src';
import { readTensors } from '../../views/src/adapter_file';
import { adapter, named } from './adapters';
import { hostile } from './hostile';

const viaJson = (value: unknown) => JSON.parse(JSON.stringify(value));
it('an adapter survives its payload, and others are refused with what is wrong', () => {
  const payload = viaJson(adapterPayload(adapter()));
  expect(parseAdapter(payload)).toEqual(adapter());
  expect(parseAdapter({ ...payload, schemaVersion: 3 })).toMatch(/newer tunebook \(schema 3\)/);
  expect(parseAdapter({ ...payload, modules: [{ ...payload.modules[0], singular: '1 2' }] })).toMatch(/do not fit its modules/);
  expect(parseAdapter({ ...payload, history: [{ ...payload.history[0], deltas: '1' }] })).toMatch(/do not fit its modules/);
  const [between] = payload.between;
  for (const wrong of [
    { ...between, reads: '0.1 0.2' },
    { ...between, writes: '1.5' },
    { ...between, layers: '0 1 2' },
  ])
    expect(parseAdapter({ ...payload, between: [wrong] })).toMatch(/do not fit its modules/);
  const { between: _, ...older } = payload;
  expect(parseAdapter(older), 'older reports lack it').toEqual(adapter({ between: undefined }));
  expect(parseAdapter({ ...payload, total: 'x' })).toMatch(/total is not of type number or null/);
});

it('charts fit the page: nothing is wider than it, no label is cut, and each step of the legend reads differently', async () => {
  const [{ compile }, { parse, View }] = await Promise.all([import('vega-lite'), import('vega')]);
  const kinds = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'a_module_of_a_longer_name'];
  const modules = kinds.flatMap((kind, i) =>
    [0, 1].map((layer) => named(`model.layers.${layer}.${kind}`, [0.001 * (i + 1), 0.0005 * (layer + 1)])),
  );
  const moments = [1, 2].map((step) => ({ step, deltas: modules.map(() => step), effectiveRanks: modules.map(() => step) }));
  const share = modules.map((_, i) => i / modules.length);
  const data = adapter({ modules, history: moments, overlap: { other: 'x', reads: share, writes: share } });
  const layers = Array.from({ length: 32 }, (_, i) => i);
  const shares = Array.from({ length: (32 * 31) / 2 }, (_, i) => (i % 11) / 10);
  const between = { kind: 'q_proj', layers, reads: shares, writes: shares };
  for (const width of [420, 560, 1000]) {
    const specs = [
      heatmapSpec(data, PAPER, { selected: modules[3].name, width }),
      spectrumSpec(modules.slice(0, 1), PAPER, width),
      historySpec(data, PAPER, width),
      overlapSpec(data, PAPER, width),
      layersSpec(modules, 'q_proj', PAPER, width),
      conditionSpec(data, PAPER, width),
      betweenSpec(between, PAPER, width),
    ];
    for (const [i, spec] of specs.entries()) {
      const view = new View(parse(compile(spec as never).spec), { renderer: 'none' });
      const svg = await view.toSVG();
      view.finalize();
      expect(Number(svg.match(/width="([\d.]+)"/)![1]), `chart ${i} at ${width}`).toBeLessThanOrEqual(width);
      expect(svg, `chart ${i} at ${width}`).not.toContain('…');
      if (i) continue;
      const legend = [...svg.matchAll(/>([\d.]+%)</g)].map(([, label]) => label);
      expect(legend.length).toBeGreaterThan(1);
      expect(new Set(legend).size).toBe(legend.length);
    }
  }
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
    if (i % 8) continue;
    const between = result.between?.map((one) => betweenSpec(one, PAPER));
    expect(JSON.stringify([conditionSpec(result, PAPER), layersSpec(result.modules, 'q_proj', PAPER), between])).not.toMatch(/NaN/);
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

it('the condition is the largest singular value over the smallest that is more than rounding', () => {
  expect([condition([4, 2]), condition([4, 2, 1e-9]), condition([0, 0]), condition([])]).toEqual([2, 2, 0, 0]);
});

it('layers share what the principal angles between their updates say; others of another shape are left out', async () => {
  const random = Random.seeded(5);
  const [r, n, m] = [3, 40, 24];
  const draw = (size: number) => Float32Array.from({ length: size }, () => random.normal());
  const update = (name: string, a: Float32Array, b: Float32Array) => {
    const shape = { r, inFeatures: a.length / r, outFeatures: b.length / r, scale: 1 };
    return { name, ...shape, values: async () => ({ a, b }) };
  };
  const [a, b] = [draw(r * n), draw(m * r)];
  const turned = Float32Array.from(a, (_, i) => a[i] + 2 * a[(i + n) % (r * n)]); // the same rows, mixed
  const of = (layer: number) => `model.layers.${layer}.self_attn.q_proj`;
  const list = [
    update(of(7), draw(r * n), draw(m * r)),
    update(of(0), a, b),
    update(of(2), turned, b),
    update(of(3), draw(r * 8), draw(m * r)),
    update('lm_head', a, b),
  ];
  const [found, ...more] = await layersOverlap(list);
  expect(more).toEqual([]);
  expect([found.kind, found.layers]).toEqual(['q_proj', [0, 2, 7]]);
  expect([found.reads[0], found.writes[0]]).toEqual([1, 1]);
  const other = await list[0].values();
  const expected = overlap({ ...list[1], a, b }, { ...list[0], ...other });
  expect([found.reads[1], found.writes[1]]).toEqual([Number(expected.reads.toFixed(2)), Number(expected.writes.toFixed(2))]);
  expect(found.reads[1]).toBeLessThan(0.5);
  const deep = await layersOverlap(Array.from({ length: 100 }, (_, i) => update(of(i), a, b)));
  expect([deep[0].layers.length, deep[0].layers[0], deep[0].layers.at(-1)]).toEqual([32, 0, 99]);
});

it('modules have a layer and a kind, in the order of a block', () => {
  expect(placeOf('model.layers.10.self_attn.q_proj')).toEqual({ layer: 10, kind: 'q_proj' });
  expect(placeOf('lm_head')).toEqual({ layer: -1, kind: 'lm_head' });
  expect(kindsOf(adapter().modules)).toEqual(['q_proj', 'up_proj']);
  for (const [name, path] of [
    ['model.layers.1.self_attn.k_proj.ia3_l', 'model.layers.1.self_attn.k_proj'],
    ['model.layers.0.input_layernorm.ln_tuning_layers.weight', 'model.layers.0.input_layernorm'],
    ['model.embed_tokens.lora_embedding_A', 'model.embed_tokens'],
    ['lm_head.weight', 'lm_head'],
    ['prompt_embeddings', 'prompt_embeddings'],
    ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.q_proj'],
  ])
    expect(moduleIn(name)).toBe(path);
});

it("the summary does the seeds' arithmetic", () => {
  const rows = new Map(adapterSummary(adapter()));
  expect(rows.get('for one module')).toBe(
    'q_proj, 1,024 x 1,024: 1,048,576 values stay frozen; at r = 16, 16 x (1,024 + 1,024) = 32,768 are trained',
  );
  expect(rows.get('largest |dW| / |W|')).toBe('10 % in model.layers.0.mlp.up_proj');
  expect(rows.get('directions in use')).toBe('1 to 16 of 16 hold 99 % of an update');
  expect(rows.get('condition')).toBe('the largest singular value is 1 to 1.333 times the smallest');
  expect(rows.get('shared between layers')).toBe('at most 25 % of what two layers read, 100 % of what they write');
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
      { name: 'x.lora_A.weight', rank: 0 },
      { name: 'y', delta: 0 },
    ],
  });
  expect((whole as { notes: string[] }).notes).toEqual([expect.stringMatching(/adds no update of low rank/)]);
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

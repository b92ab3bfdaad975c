import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import {
  decodePoints,
  differingOptions,
  encodePoints,
  latestSamples,
  MAX_POINTS,
  movingAverage,
  otherSeries,
  type Point,
  parseRun,
  RUN_SCHEMA,
  type RunData,
  runCsv,
  runDelta,
  runPayload,
  runSvg,
  SERIES,
  sampleRows,
  savedRun,
  summary,
  thin,
  toldAll,
  withDelta,
} from '../../views/src';
import { hostile } from './hostile';
import { longRun, runData } from './runs';

const viaJson = (value: unknown) => JSON.parse(JSON.stringify(value));

it('thinning keeps ends, order and every spike', () => {
  const points: Point[] = Array.from({ length: 50000 }, (_, i) => [i, Math.sin(i / 1000)]);
  for (const at of [7, 12345, 49998]) points[at][1] = 99;
  points[30000][1] = -99;
  const kept = thin(points);
  expect(kept.length).toBeLessThanOrEqual(MAX_POINTS);
  expect(kept.every((p, i) => i === 0 || p[0] > kept[i - 1][0])).toBe(true);
  expect(kept.filter((p) => p[1] === 99).map((p) => p[0])).toEqual([7, 12345, 49998]);
  expect(kept.some((p) => p[1] === -99)).toBe(true);
  expect([kept[0], kept.at(-1)]).toEqual([points[0], points.at(-1)]);
  expect(thin(points.slice(0, 5))).toEqual(points.slice(0, 5));
});

it('points travel as text: 6 digits, no figures that JSON lacks', () => {
  const points: Point[] = [
    [1, 2.3456789],
    [2, Number.NaN],
    [3, -1e-12],
    [4, 7.8e9],
  ];
  expect(encodePoints(points)).toBe('1:2.34568 3:-1e-12 4:7800000000');
  expect(decodePoints(encodePoints(points))).toEqual([
    [1, 2.34568],
    [3, -1e-12],
    [4, 7.8e9],
  ]);
  expect(decodePoints('')).toEqual([]);
  for (const wrong of ['1', '1:', ':1', '1:x', '-1:2', '1:2  3:4', '1:1e300', '1:2:3', `${'1:1 '.repeat(3000)}1:1`])
    expect(decodePoints(wrong), wrong.slice(0, 20)).toBeUndefined();
});

it('the moving average is unbiased from the first point', () => {
  const flat = [1, 2, 3].map((step): Point => [step, 4]);
  expect(movingAverage(flat).map((p) => p[1])).toEqual([4, 4, 4].map((v) => expect.closeTo(v, 10)));
});

it('a run survives its payload, and others are refused with what is wrong', () => {
  const payload = viaJson(runPayload(runData()));
  expect(parseRun(payload)).toEqual(runData());
  expect(parseRun(null)).toMatch(/no object/);
  expect(parseRun({ ...payload, schemaVersion: 2 })).toMatch(/newer tunebook \(schema 2\).*reads schema 1\. Update/);
  expect(parseRun({ ...payload, schemaVersion: '1' })).toMatch(/schemaVersion is missing or unknown/);
  expect(parseRun({ ...payload, series: { ...payload.series, loss: '1:2 x' } })).toMatch(/series.loss cannot be read/);
  expect(parseRun({ ...payload, series: { ...payload.series, loss: '1:2 e' } })).toMatch(/series.loss holds something else/);
  expect(parseRun({ ...payload, series: { ...payload.series, loss: '1:1 '.repeat(5000) } })).toMatch(/holds something else|too long/);
  expect(parseRun({ ...payload, status: 'x' })).toMatch(/status is none of running, paused/);
  expect(parseRun({ ...payload, events: Array(501).fill(payload.events[0]) })).toMatch(/events is too long/);
  expect(parseRun({ ...payload, memory: { ...payload.memory, peakBytes: '1' } })).toMatch(/memory.peakBytes is not of type number/);
  expect(Object.keys(RUN_SCHEMA.properties!.series.properties!)).toEqual([...SERIES]);
});

it('beside the plot stand all own questions, of the others the latest answers, in the order asked', () => {
  const sample = (step: number, prompt: string, asked?: boolean) => ({
    step,
    prompt,
    text: `${prompt} ${step}`,
    ...(asked && { asked, base: 'b' }),
  });
  const samples = [sample(1, 'a'), sample(1, 'b'), sample(2, 'mine', true), sample(3, 'a'), sample(4, 'mine', true)];
  expect(latestSamples({ samples }).map(({ text }) => text)).toEqual(['b 1', 'mine 2', 'a 3', 'mine 4']);
  expect(sampleRows({ samples }, 2)).toEqual([
    ['“a” at step 3', 'a 3'],
    ['“mine” at step 4', 'mine 4 (the base model: b)'],
  ]);
  const run = runData({ samples, doing: 'evaluating on 3 rows' });
  expect(parseRun(viaJson(runPayload(run)))).toEqual(run);
  expect(summary(run)[0]).toEqual(['status', 'training, step 2 of 10, evaluating on 3 rows']);
  const after = { ...run, doing: '' };
  expect(withDelta(run, viaJson(runDelta(after, toldAll(after))))).toEqual(runData({ samples }));
});

it('options that differ are told, those that say where a run is saved are not', () => {
  const runs: { config: RunData['config'] }[] = [
    { config: { r: 8, bf16: null, output_dir: 'a' } },
    { config: { r: 16, bf16: null, output_dir: 'b', optim: 'x', auto_mapping: null, loftq_config: '{}' } },
  ];
  expect(differingOptions(runs)).toEqual([
    ['r', '8', '16'],
    ['optim', '-', 'x'],
  ]);
  const lora = (config: RunData['config']) => ({ config: { peft_type: 'LORA', ...config } });
  expect(differingOptions([lora({ r: 8 }), lora({ r: 9, megatron_core: 'megatron.core' })])).toEqual([['r', '8', '9']]);
  expect(differingOptions([])).toEqual([]);
});

it('a saved run is read from its files, ours or transformers’, and whatever else is there is refused', () => {
  const state = {
    global_step: 20,
    max_steps: 40,
    log_history: [
      { step: 10, loss: 2, epoch: 1 },
      { step: 20, loss: 1 },
      { step: 20, eval_loss: 1.5 },
    ],
  };
  expect(savedRun('out/a', state, [{ r: 8 }, { learning_rate: 1e-4 }])).toMatchObject({
    ...{ name: 'out/a', status: 'stopped', step: 20, totalSteps: 40, config: { r: 8, learning_rate: 1e-4 } },
    series: {
      loss: [
        [10, 2],
        [20, 1],
      ],
      eval_loss: [[20, 1.5]],
    },
  });
  const ours = { ...state, global_step: 40, stateful_callbacks: { tunebook: { series: { loss: [[1, 3]], 'rewards/x': [[1, 2]] } } } };
  expect(savedRun('out/a', ours)).toMatchObject({ status: 'finished', series: { loss: [[1, 3]], 'rewards/x': [[1, 2]] } });
  expect(savedRun('out/a', undefined)).toMatch(/holds no trainer_state.json/);
  expect(savedRun('out/a', { global_step: 1 })).toMatch(/says nothing of its losses/);
  const random = Random.seeded(4);
  for (let i = 0; i < 5000; i++) {
    const run = savedRun('out/a', hostile(random, viaJson(i % 2 ? state : ours)), [hostile(random, { r: 8, nested: { a: [1] } })]);
    if (typeof run !== 'string') expect(parseRun(viaJson(runPayload(run)))).toMatchObject({ name: 'out/a' });
  }
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

it('no text is cut in the middle of a character', () => {
  const run = runData();
  for (const text of ['🙂'.repeat(5000), `a${'🙂'.repeat(5000)}`]) {
    const payload = runPayload({
      ...run,
      config: { text },
      samples: [{ step: 1, prompt: text, text }],
      events: [{ step: 1, kind: 'epoch', text }],
    });
    expect(JSON.stringify(payload)).not.toMatch(/\\ud[89a-f]/);
  }
});

it('the schema is what ajv, a validator of the whole standard, takes it for', async () => {
  const { default: Ajv } = await import('ajv/dist/2020');
  const validate = new Ajv({ allowUnionTypes: true }).compile(RUN_SCHEMA);
  expect(validate(viaJson(runPayload(longRun(5000))))).toBe(true);
  const random = Random.seeded(5);
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const payload = hostile(random, viaJson(runPayload(runData())));
    // Ours also reads the texts of points, so it may refuse more; never less.
    if (!validate(payload)) {
      refused++;
      expect(typeof parseRun(payload), JSON.stringify(payload)?.slice(0, 300)).toBe('string');
    }
  }
  expect(refused).toBeGreaterThan(1000);
});

it('20,000 hostile payloads are refused with a sentence or drawn, quickly', () => {
  const random = Random.seeded(11);
  let taken = 0;
  for (let i = 0; i < 20_000; i++) {
    const result = parseRun(hostile(random, viaJson(runPayload(runData()))));
    if (typeof result === 'string') {
      expect(result).toMatch(/^This (output is not a|training run (was|is damaged)).*\.$/s);
      expect(result.length).toBeLessThan(600);
      continue;
    }
    taken++;
    const svg = runSvg(result);
    expect(svg).not.toMatch(/NaN|Infinity|<script|<img/);
    summary(result);
  }
  expect(taken).toBeGreaterThan(100);
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

it('deltas bring a view to where the run is, with only what is new', () => {
  const run = longRun(40);
  const early: RunData = { ...run, step: 10, series: viaJson(run.series), events: [], samples: [] };
  for (const name of SERIES) early.series[name] = early.series[name].filter(([step]) => step <= 10);
  const delta = viaJson(runDelta(run, toldAll(early)));
  expect(delta.series.loss.split(' ')).toHaveLength(30);
  const whole = parseRun(viaJson(runPayload(run))) as RunData;
  expect(withDelta(parseRun(viaJson(runPayload(early))) as RunData, delta)).toEqual(whole);
  expect(withDelta(run, { ...delta, step: 'x' })).toMatch(/damaged: step is not of type number/);
});

it('a view that takes 50,000 live points stays small and keeps its spikes', () => {
  const run = longRun(50_000);
  run.series.loss[31_007][1] = 77;
  let shown: RunData = { ...runData(), series: Object.fromEntries(SERIES.map((name) => [name, []])) as never };
  for (let at = 0; at < 50_000; at += 10) {
    const now: RunData = { ...run, series: Object.fromEntries(SERIES.map((name) => [name, run.series[name].slice(at, at + 10)])) as never };
    shown = withDelta(
      shown,
      runDelta(now, toldAll(runData({ events: [], samples: [], series: { ...shown.series, ...empty } }))),
    ) as RunData;
  }
  expect(shown.series.loss.length).toBeLessThanOrEqual(2 * MAX_POINTS);
  expect(shown.series.loss).toContainEqual([31_008, 77]);
  expect(shown.series.loss.at(-1)![0]).toBe(50_000);
});
const empty = Object.fromEntries(SERIES.map((name) => [name, []])) as unknown as RunData['series'];

it('pictures and tables escape names and survive empty series', () => {
  expect(runSvg(runData())).not.toContain('<script>');
  expect(runSvg(runData({ series: empty }))).toContain('<svg');
  const labels = ['status', 'training loss', 'evaluation loss', 'speed', 'memory', 'last checkpoint'];
  expect(summary(runData()).map(([label]) => label)).toEqual(labels);
  const stopped = (checkpoint: string) => summary(runData({ status: 'stopped', step: 2, checkpoints: [checkpoint] }))[0][1];
  expect(stopped('out/checkpoint-2')).toMatch(/^stopped and saved, step 2 /);
  expect(stopped('out/checkpoint-1')).toMatch(/^stopped, step 2 /);
  expect(runCsv(runData())).toBe(`step,${SERIES.join(',')}\n1,2.5,,0,,100,\n2,2,2.2,0.0001,,,\n`);
});

const measured = (more: object = {}) =>
  runData({
    series: {
      ...runData().series,
      'rewards/accuracies': [
        [1, 0.5],
        [2, 0.75],
      ],
      'eval_rewards/accuracies': [[2, 0.625]],
      constructor: [[2, 1]],
      ...more,
    } as unknown as RunData['series'],
  });

it('whatever else was measured travels, arrives while the run is on, and is in pictures and tables', () => {
  const run = measured();
  const whole = parseRun(viaJson(runPayload(run))) as RunData;
  expect(whole).toEqual(run);
  const before = parseRun(viaJson(runPayload(runData()))) as RunData;
  expect(withDelta(before, viaJson(runDelta(run, toldAll(runData()))))).toEqual(whole);
  expect(withDelta(whole, viaJson(runDelta(run, toldAll(run))))).toEqual(whole);
  expect(otherSeries(run).map(({ name, points, evaluated }) => [name, points.length, evaluated.length])).toEqual([
    ['rewards/accuracies', 2, 1],
    ['constructor', 1, 0],
  ]);
  expect(runSvg(run)).toContain('rewards/accuracies');
  expect(runSvg(run)).toContain('height="650"');
  expect(summary(run)).toContainEqual(['rewards/accuracies', '0.75 at step 2, 0.625 evaluated (step 2)']);
  expect(runCsv(run)).toBe(
    `step,${SERIES.join(',')},rewards/accuracies,eval_rewards/accuracies,constructor\n1,2.5,,0,,100,,0.5,,\n2,2,2.2,0.0001,,,,0.75,0.625,1\n`,
  );
});

it('series have names that nothing can be done with, and there is an end to them', () => {
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`s${i}`, [[1, i]]]));
  const payload = viaJson(
    runPayload(measured({ ...JSON.parse('{"__proto__": [[1, 2]]}'), '<b>"': [[1, 1]], ['ä'.repeat(200)]: [[1, 1]], ...many })),
  );
  expect(typeof parseRun(payload)).toBe('object');
  expect(Object.keys(payload.series)).toHaveLength(64);
  for (const name of ['__proto__', '<b>', 'x'.repeat(81), ''])
    expect(parseRun({ ...payload, series: { ...runPayload(runData()).series, ...JSON.parse(`{${JSON.stringify(name)}: ""}`) } })).toMatch(
      /^This training run is damaged: a name in series /,
    );
  const full = parseRun(payload) as RunData;
  expect(
    Object.keys((withDelta(full, viaJson(runDelta(measured({ late: [[1, 1]] }), toldAll(runData())))) as RunData).series),
  ).toHaveLength(64);
});

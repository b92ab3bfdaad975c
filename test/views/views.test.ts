import { expect, it } from 'vitest';
import {
  MAX_POINTS,
  movingAverage,
  type Point,
  parseRun,
  RUN_SCHEMA,
  type RunPayload,
  runSvg,
  SERIES,
  summary,
  thin,
} from '../../views/src';

const run = (): RunPayload => ({
  schemaVersion: 1,
  id: 'a',
  name: '<script>alert(1)</script>',
  status: 'running',
  startedAt: '2026-01-01T00:00:00Z',
  updatedAt: '2026-01-01T00:00:01Z',
  step: 2,
  totalSteps: 10,
  config: { learning_rate: 1e-4 },
  series: {
    loss: [
      [1, 2.5],
      [2, 2],
    ],
    eval_loss: [[2, 2.2]],
    learning_rate: [
      [1, 0],
      [2, 1e-4],
    ],
    grad_norm: [],
    tokens_per_second: [[1, 100]],
    resident_bytes: [],
  },
  events: [{ step: 2, kind: 'checkpoint', text: 'saved' }],
  checkpoints: ['out/checkpoint-2'],
  memory: { residentBytes: 1e9, peakBytes: 2e9, machineBytes: 4e9 },
});

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

it('the moving average is unbiased from the first point', () => {
  expect(
    movingAverage([
      [1, 4],
      [2, 4],
      [3, 4],
    ]).map((p) => p[1]),
  ).toEqual([4, 4, 4].map((v) => expect.closeTo(v, 10)));
});

it('accepts a run and says what is wrong with others', () => {
  expect(parseRun(run())).toEqual(run());
  expect(parseRun(null)).toMatch(/no object/);
  expect(parseRun({ ...run(), schemaVersion: 2 })).toMatch(/newer tunebook \(schema 2\).*reads schema 1/);
  expect(parseRun({ ...run(), series: { ...run().series, loss: [[1, 'x']] } })).toMatch(/series loss holds something else/);
  expect(parseRun({ ...run(), series: { ...run().series, loss: Array(5000).fill([1, 1]) } })).toMatch(/too long/);
  expect(parseRun({ ...run(), status: 'x' })).toMatch(/status/);
  expect(Object.keys(RUN_SCHEMA.properties.series.properties)).toEqual([...SERIES]);
});

it('hostile values never pass as a run', () => {
  const hostile = [Number.NaN, Number.POSITIVE_INFINITY, '<img onerror=x>', [], {}, null, -1, 'x'.repeat(1e6), { __proto__: { a: 1 } }];
  const base = run() as unknown as Record<string, unknown>;
  for (const key of Object.keys(base))
    for (const value of hostile) {
      const result = parseRun({ ...base, [key]: value });
      if (typeof result !== 'string') expect(() => runSvg(result)).not.toThrow();
    }
});

it('pictures and tables escape names and survive empty and infinite series', () => {
  expect(runSvg(run())).not.toContain('<script>');
  const empty = run();
  for (const name of SERIES) empty.series[name] = [];
  expect(runSvg(empty)).toContain('<svg');
  expect(summary(run()).map(([label]) => label)).toEqual([
    'status',
    'training loss',
    'evaluation loss',
    'speed',
    'memory',
    'last checkpoint',
  ]);
});

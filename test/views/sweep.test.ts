import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import {
  PAPER,
  parseSweep,
  type SweepData,
  type SweepRunData,
  sweepFigures,
  sweepPayload,
  sweepPicture,
  sweepSpec,
  sweepSummary,
} from '../../views/src';
import { hostile } from './hostile';

const viaJson = (value: unknown) => JSON.parse(JSON.stringify(value));
const curve = (n: number, at: number) =>
  Array.from({ length: n }, (_, i): [number, number] => [i + 1, Number((at + 1 / (i + 1)).toPrecision(6))]);

const run = (r: number, more: Partial<SweepRunData> = {}): SweepRunData => ({
  ...{ id: `run-${r}`, name: `r=${r}`, folder: `ranks/r=${r}`, values: [String(r)], status: 'finished', step: 30, totalSteps: 30 },
  ...{ parameters: 1000 * r, seconds: 75, peakBytes: 2 ** 30, score: 2 + 1 / r, text: '', loss: curve(30, 2), eval_loss: curve(3, 2) },
  ...more,
});
const sweep = (runs = [run(4), run(16), run(64, { status: 'waiting', score: null, loss: [], eval_loss: [] })]): SweepData => ({
  ...{ id: 'a', name: 'ranks', folder: 'ranks', status: 'running', updatedAt: '2026-11-26T08:00:00.000Z' },
  ...{ vary: ['r'], score: 'eval_loss', best: 1, runs },
});

it('a sweep survives its payload, and others are refused with what is wrong', () => {
  const payload = viaJson(sweepPayload(sweep()));
  expect(parseSweep(payload)).toEqual(sweep());
  expect(parseSweep({ ...payload, schemaVersion: 2 })).toMatch(/newer tunebook \(schema 2\)/);
  expect(parseSweep({ ...payload, best: 7 })).toMatch(/none of its runs/);
  expect(parseSweep({ ...payload, vary: [] })).toMatch(/other options/);
  expect(parseSweep({ ...payload, runs: [{ ...payload.runs[0], loss: '1:2:3' }] })).toMatch(/damaged/);
  expect(sweepSummary(sweep())).toEqual([
    ['sweep', '2 of 3 runs are over; best: r=16 (eval_loss 2.063)'],
    ['r=4', 'finished, step 30/30, 4,000 trained, 1:15, 1,024 MiB, loss 2.033, eval_loss 2.25'],
    ['r=16', 'finished, step 30/30, 16,000 trained, 1:15, 1,024 MiB, loss 2.033, eval_loss 2.063, best'],
    ['r=64', 'waiting, step 30/30, 64,000 trained, 1:15, 1,024 MiB'],
  ]);
});

it('many long runs stay small', () => {
  const runs = Array.from({ length: 60 }, (_, i) => run(i + 1, { loss: curve(50_000, 2), eval_loss: curve(500, 2) }));
  expect(JSON.stringify(sweepPayload(sweep(runs))).length).toBeLessThan(200_000);
});

it.each([
  [0.4, '0:00'],
  [59.4, '0:59'],
  [59.7, '1:00'],
  [60, '1:00'],
  [119.5, '2:00'],
  [3599.4, '59:59'],
  [3599.7, '1 h 0 min'],
  [7320, '2 h 2 min'],
])('%d seconds are %s', (seconds, wanted) => {
  expect(sweepFigures(run(1, { seconds }))[3]).toBe(wanted);
});

it('of more runs than travel the best may be left out', () => {
  const runs = Array.from({ length: 230 }, (_, i) => run(i + 1, { loss: [], eval_loss: [] }));
  for (const [best, wanted] of [
    [199, 199],
    [200, null],
    [229, null],
    [null, null],
  ]) {
    const result = parseSweep(viaJson(sweepPayload({ ...sweep(runs), best })));
    expect(result).toMatchObject({ best: wanted });
  }
});

it('hostile payloads are refused or drawn without harm', () => {
  const random = Random.seeded(5);
  let taken = 0;
  for (let i = 0; i < 6000; i++) {
    const result = parseSweep(hostile(random, viaJson(sweepPayload(sweep()))));
    if (typeof result === 'string') continue;
    taken++;
    const drawn = [sweepSummary(result), result.runs.map(sweepFigures), sweepSpec(result, PAPER), sweepPicture(result, PAPER)];
    expect(JSON.stringify(drawn)).not.toMatch(/NaN|Infinity/);
  }
  expect(taken).toBeGreaterThan(100);
});

import { expect, it } from 'vitest';
import { runBundle, runPayload, runPng } from '../../src/notebook/run_view';
import { newRun } from '../../src/train/run';
import { parseRun, RUN_MIME } from '../../views/src';

function longRun() {
  const run = newRun('a <run>', 60000, { learning_rate: 1e-4 });
  for (let step = 1; step <= 50000; step++) {
    run.step = step;
    run.series.loss.push([step, step === 777 ? Number.NaN : 3 + Math.sin(step)]);
    run.series.learning_rate.push([step, 1e-4]);
    run.series.grad_norm.push([step, 1]);
    run.series.tokens_per_second.push([step, 100]);
    run.series.resident_bytes.push([step, 1e9]);
  }
  return run;
}

it('a long run stays small and valid, without numbers that JSON lacks', () => {
  const payload = runPayload(longRun());
  expect(parseRun(JSON.parse(JSON.stringify(payload)))).toEqual(payload);
  const bundle = runBundle(payload, runPng(payload));
  expect(JSON.stringify(bundle[RUN_MIME]).length).toBeLessThan(300_000);
  expect(bundle['text/html']).not.toContain('<run>');
  expect(bundle['text/html']).not.toContain('<script');
});

it('the picture shows lines in the colours of its key', () => {
  const png = runPng(runPayload(longRun()));
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  expect(png.length).toBeGreaterThan(5000);
});

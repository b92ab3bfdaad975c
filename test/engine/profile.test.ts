import { expect, it } from 'vitest';
import { execute, startBackend } from '../../src/engine/backend';
import { peakGflops, profiled } from '../../src/engine/profile';
import * as tf from '../../src/engine/tf';

it('a profile holds every native op that ran, by name and time', async () => {
  await startBackend();
  const { result, profile } = await profiled(async () => {
    const [sum] = tf.tidy(() =>
      tf
        .matMul(tf.ones([64, 64]), tf.ones([64, 64]))
        .sum()
        .dataSync(),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    return sum;
  });
  expect(result).toBe(64 ** 3);
  const rows = profile.byOp();
  expect(rows.map((row) => row.name)).toEqual(expect.arrayContaining(['Sum']));
  expect(rows.reduce((n, row) => n + row.calls, 0)).toBe(profile.events.length);
  expect(profile.outside).toBeGreaterThan(0);
  expect(profile.outside).toBeLessThan(1);
  const { traceEvents } = profile.chromeTrace();
  expect(traceEvents[0]).toMatchObject({ ph: 'X', name: profile.events[0].name, ts: profile.events[0].start });
  expect(profile.between(0, profile.events[0].start + 1e-9).events).toHaveLength(1);
});

it('an op that fails, or a function that throws, leaves no profile behind', async () => {
  await startBackend();
  await expect(profiled(() => execute('TunebookNothing', [], {}, 1))).rejects.toThrow(/TunebookNothing/);
  const { profile } = await profiled(() => tf.tidy(() => tf.add(1, 2).dataSync()));
  expect(profile.events.length).toBeGreaterThan(0);
  tf.tidy(() => tf.add(1, 2).dataSync());
  expect(profile.events).toHaveLength(profile.byOp().reduce((n, row) => n + row.calls, 0));
});

it('the peak is measured in both precisions', async () => {
  await startBackend();
  for (const precision of ['fp32', 'bf16'] as const) expect(peakGflops(precision, 0.05)).toBeGreaterThan(0.1);
});

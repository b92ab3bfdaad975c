import type { RunData } from '../../views/src';

/** A run as views read it, with a hostile name. */
export const runData = (more: Partial<RunData> = {}): RunData => ({
  id: 'a',
  name: '<script>alert(1)</script>',
  folder: 'out',
  status: 'running',
  startedAt: '2026-01-01T00:00:00Z',
  updatedAt: '2026-01-01T00:00:01Z',
  step: 2,
  totalSteps: 10,
  config: { learning_rate: 1e-4, optim: 'adamw_torch', bf16: null },
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
  samples: [{ step: 2, prompt: 'Who?', text: 'Me.' }],
  memory: { residentBytes: 1e9, peakBytes: 2e9, machineBytes: 4e9 },
  ...more,
});

/** A run with a point in every series at every step. */
export function longRun(steps: number): RunData {
  const run = runData({ name: 'long', totalSteps: steps, step: steps });
  const series = (f: (step: number) => number) => Array.from({ length: steps }, (_, i): [number, number] => [i + 1, f(i + 1)]);
  run.series = {
    loss: series((step) => 3 + Math.sin(step) / 7),
    eval_loss: series((step) => 3 + Math.cos(step) / 7).filter(([step]) => step % 50 === 0),
    learning_rate: series((step) => (1e-4 * (steps - step)) / steps),
    grad_norm: series((step) => 1 + Math.sin(step * step)),
    tokens_per_second: series((step) => 150 + 10 * Math.sin(3 * step)),
    resident_bytes: series((step) => 1e9 + step),
  };
  return run;
}

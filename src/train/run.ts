import { emit } from '../core/events';
import type { Handle } from './handle';

export type Point = [step: number, value: number];

/** What can happen to a run; each event says in plain words what it means. */
export type EventKind =
  | 'epoch'
  | 'checkpoint'
  | 'warning'
  | 'paused'
  | 'resumed'
  | 'learning_rate'
  | 'overfitting'
  | 'nan'
  | 'stopped'
  | 'failed';

/** One training run as views and checkpoints see it. */
export interface Run {
  id: string;
  name: string;
  /** Where it saves: output_dir, as it was given. */
  folder: string;
  status: 'running' | 'paused' | 'finished' | 'stopped' | 'failed';
  /** ISO 8601. */
  startedAt: string;
  step: number;
  totalSteps: number;
  config: Record<string, unknown>;
  series: Record<'loss' | 'eval_loss' | 'learning_rate' | 'grad_norm' | 'tokens_per_second' | 'resident_bytes', Point[]>;
  events: { step: number; kind: EventKind; text: string }[];
  /** Paths, latest last. */
  checkpoints: string[];
  /** What the model wrote after the same prompts as it learned. */
  samples: { step: number; prompt: string; text: string }[];
  memory: { residentBytes: number; peakBytes: number; machineBytes: number };
}

export function newRun(name: string, folder: string, totalSteps: number, config: Record<string, unknown>): Run {
  return {
    id: `${Date.now().toString(36)}-${Math.floor(Math.random() * 0xffffff)
      .toString(16)
      .padStart(6, '0')}`,
    name,
    folder,
    status: 'running',
    startedAt: new Date().toISOString(),
    step: 0,
    totalSteps,
    config,
    series: { loss: [], eval_loss: [], learning_rate: [], grad_norm: [], tokens_per_second: [], resident_bytes: [] },
    events: [],
    checkpoints: [],
    samples: [],
    memory: { residentBytes: 0, peakBytes: 0, machineBytes: 0 },
  };
}

/** What listeners are told of: the beginning, a step, anything else that changed, the end. */
export type Moment = 'begin' | 'step' | 'change' | 'end';

export const tell = (run: Run, handle: Handle, what: Moment): void => emit('run', { run, handle, what });

/**
 * Notes that the model begins to memorise: evaluation loss has risen twice in a row while training loss fell. Said once for
 * each lowest point.
 */
export function watchOverfitting(run: Run): void {
  const evaluations = run.series.eval_loss;
  if (evaluations.length < 3) return;
  const [[first, best], [, middle], [, last]] = evaluations.slice(-3);
  if (!(best < middle && middle < last) || evaluations.some(([, loss]) => loss < best)) return;
  const mean = (from: number, to: number) => {
    const inside = run.series.loss.filter(([step]) => step > from && step <= to).map(([, loss]) => loss);
    return inside.reduce((sum, loss) => sum + loss, 0) / inside.length;
  };
  const before = evaluations.at(-4)?.[0] ?? 0;
  if (!(mean(first, run.step) < mean(before, first))) return;
  const show = (loss: number) => loss.toFixed(3);
  run.events.push({
    step: run.step,
    kind: 'overfitting',
    text:
      `Evaluation loss rose twice in a row (${show(best)}, ${show(middle)}, ${show(last)}) while training loss fell: the model begins to memorise its rows. ` +
      `It was best at step ${first}.`,
  });
}

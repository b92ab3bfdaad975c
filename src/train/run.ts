import { emit } from '../core/events';

export type Point = [step: number, value: number];

/** One training run as views and checkpoints see it. */
export interface Run {
  id: string;
  name: string;
  status: 'running' | 'finished' | 'stopped' | 'failed';
  /** ISO 8601. */
  startedAt: string;
  step: number;
  totalSteps: number;
  config: Record<string, unknown>;
  series: Record<'loss' | 'eval_loss' | 'learning_rate' | 'grad_norm' | 'tokens_per_second' | 'resident_bytes', Point[]>;
  events: { step: number; kind: 'epoch' | 'checkpoint' | 'warning' | 'stopped' | 'failed' | 'resumed'; text: string }[];
  /** Paths, latest last. */
  checkpoints: string[];
  memory: { residentBytes: number; peakBytes: number; machineBytes: number };
}

export function newRun(name: string, totalSteps: number, config: Record<string, unknown>): Run {
  return {
    id: `${Date.now().toString(36)}-${Math.floor(Math.random() * 0xffffff)
      .toString(16)
      .padStart(6, '0')}`,
    name,
    status: 'running',
    startedAt: new Date().toISOString(),
    step: 0,
    totalSteps,
    config,
    series: { loss: [], eval_loss: [], learning_rate: [], grad_norm: [], tokens_per_second: [], resident_bytes: [] },
    events: [],
    checkpoints: [],
    memory: { residentBytes: 0, peakBytes: 0, machineBytes: 0 },
  };
}

export const tell = (run: Run, what: 'begin' | 'step' | 'eval' | 'save' | 'end'): void => emit('run', { run, what });

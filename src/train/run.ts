import { emit } from '../core/events';
import type { PretrainedModel } from '../models/pretrained';
import { baseOf } from '../peft/model';
import type { TrainedModel } from './gradients';
import type { Handle } from './handle';
import { withoutToken } from './hub_options';

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
  /** What is being worked on beside steps, in words; '' where nothing is. */
  doing: string;
  /** ISO 8601. */
  startedAt: string;
  step: number;
  totalSteps: number;
  config: Record<string, unknown>;
  /** What the schedule's curve is multiplied with: args.learning_rate, until another is set while training. */
  peakRate: number;
  /** The sweep that it is one run of, whose view shows it. */
  sweep?: string;
  /** For how long it was paused: no time of training. */
  pausedSeconds: number;
  /** Those of every run, and whatever else is measured or logged, by its name. */
  series: Record<'loss' | 'eval_loss' | 'learning_rate' | 'grad_norm' | 'tokens_per_second' | 'resident_bytes' | (string & {}), Point[]>;
  events: { step: number; kind: EventKind; text: string }[];
  /** Paths, latest last. */
  checkpoints: string[];
  /** What the model wrote after the same prompts as it learned. */
  samples: {
    step: number;
    prompt: string;
    text: string;
    /** What the model writes without its adapter, where it was asked too. */
    base?: string;
    /** It was a question of the reader's own. */
    asked?: boolean;
  }[];
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
    doing: '',
    startedAt: new Date().toISOString(),
    step: 0,
    totalSteps,
    config,
    peakRate: (config.learning_rate as number | undefined) ?? 0,
    pausedSeconds: 0,
    series: { loss: [], eval_loss: [], learning_rate: [], grad_norm: [], tokens_per_second: [], resident_bytes: [] },
    events: [],
    checkpoints: [],
    samples: [],
    memory: { residentBytes: 0, peakBytes: 0, machineBytes: 0 },
  };
}

/** Adds a point to one of its series, which may be a new one. A second value at the same step is left out: it says the same. */
export function plot(run: Run, name: string, value: number): void {
  if (!Object.hasOwn(run.series, name)) run.series = { ...run.series, [name]: [] };
  const points = run.series[name];
  if (points.at(-1)?.[0] !== run.step) points.push([run.step, value]);
}

/** What is logged and is no figure of the model's. */
const NOT_PLOTTED = /^num_tokens$|_runtime$|_tokens$|_per_second$|^train_loss$|^total_flos$/;

/** Adds what is logged to the run's series, as far as it is a figure of the model's. */
export function plotLogs(run: Run, logs: Record<string, number>): void {
  for (const [name, value] of Object.entries(logs)) if (!NOT_PLOTTED.test(name)) plot(run, name, value);
}

/** Whether it has ended, in whatever way. */
export const isOver = ({ status }: Run): boolean => status !== 'running' && status !== 'paused';

/** What listeners are told of: the beginning, a step, anything else that changed, the end. */
export type Moment = 'begin' | 'step' | 'change' | 'end';

export const tell = (run: Run, handle: Handle, what: Moment): void => emit('run', { run, handle, what });

/** Tells what is being worked on for as long as f runs. */
export async function during<T>(run: Run, handle: Handle, doing: string, f: () => Promise<T>): Promise<T> {
  const before = run.doing;
  run.doing = doing;
  tell(run, handle, 'change');
  try {
    return await f();
  } finally {
    run.doing = before;
    tell(run, handle, 'change');
  }
}

/** Notes what happened. */
export const note = (run: Run, kind: EventKind, text: string): void => {
  run.events.push({ step: run.step, kind, text });
};

/** Notes what the user should know, and says so at once, with `advice` where it is not a part of the note. */
export function warn(run: Run, text: string, advice?: string): void {
  note(run, 'warning', text);
  emit('warning', { text: advice ? `${text} ${advice}` : text });
}

/** The options that a run is told apart by: its own, and those of what is trained. */
export function optionsOf(args: object, model: TrainedModel): Record<string, unknown> {
  const base_model_name_or_path = baseOf<PretrainedModel>(model).config._name_or_path;
  return { ...withoutToken(args), ...(model as { active_peft_config?: object }).active_peft_config, base_model_name_or_path };
}

import type { Precision } from '../engine/precision';
import type { CallbackState } from './callbacks/callback';
import type { TrainingOptions } from './config';
import type { Run } from './run';

/** Where a run is, in transformers' words: what callbacks are told, and what trainer_state.json holds. */
export interface TrainerState {
  global_step: number;
  /** With the share of the current one that is done. */
  epoch: number;
  max_steps: number;
  num_train_epochs: number;
  train_batch_size: number;
  num_input_tokens_seen: number;
  /** Whole numbers of steps, also where the options say a share. */
  logging_steps: number;
  eval_steps: number;
  save_steps: number;
  best_metric: number | null;
  best_global_step: number | null;
  best_model_checkpoint: string | null;
  log_history: Record<string, number>[];
  total_flos: number;
  is_hyper_param_search: boolean;
  is_local_process_zero: boolean;
  is_world_process_zero: boolean;
  trial_name: null;
  trial_params: null;
  /** By class; a list where a class has several. */
  stateful_callbacks: Record<string, CallbackState | CallbackState[]>;
}

/** What is needed besides to go on bit for bit. */
export interface Ours {
  micro_batch_tokens: number;
  precision?: Precision;
  fingerprint: string;
  series: Run['series'];
  samples?: Run['samples'];
  /** Where another was set than args.learning_rate while training. */
  learning_rate_set?: number;
  loss_since_log: [sum: number, count: number];
  /** The objective's other figures likewise. */
  metrics_since_log?: Record<string, [sum: number, count: number]>;
  /** Steps that were left out of epochs which a callback ended. */
  steps_left_out?: number;
}

/** trainer_state.json: transformers' keys, and what is ours as one of the callbacks. */
export interface SavedState extends Omit<TrainerState, 'stateful_callbacks'> {
  stateful_callbacks: { tunebook: Ours; [callback: string]: Ours | CallbackState | CallbackState[] };
}

/** How long a run is. */
export interface Length {
  rowsPerStep: number;
  stepsPerEpoch: number;
  total: number;
  warmup: number;
}

export function lengthOfRun(args: TrainingOptions, rows: number): Length {
  const rowsPerStep = args.per_device_train_batch_size * args.gradient_accumulation_steps;
  const stepsPerEpoch = Math.ceil(rows / rowsPerStep);
  const total = args.max_steps > 0 ? args.max_steps : Math.ceil(args.num_train_epochs * stepsPerEpoch);
  const warmup = args.warmup_steps < 1 ? Math.ceil(args.warmup_steps * total) : args.warmup_steps;
  return { rowsPerStep, stepsPerEpoch, total, warmup };
}

/** The state of a run that has not begun. */
export function newState(args: TrainingOptions, { total, stepsPerEpoch }: Length): TrainerState {
  const steps = (every: number) => Math.max(1, Math.round(every < 1 ? every * total : every));
  return {
    global_step: 0,
    epoch: 0,
    max_steps: total,
    num_train_epochs: Math.ceil(total / stepsPerEpoch),
    train_batch_size: args.per_device_train_batch_size,
    num_input_tokens_seen: 0,
    logging_steps: steps(args.logging_steps),
    eval_steps: steps(args.eval_steps ?? args.logging_steps),
    save_steps: steps(args.save_steps),
    best_metric: null,
    best_global_step: null,
    best_model_checkpoint: null,
    log_history: [],
    total_flos: 0,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    trial_name: null,
    trial_params: null,
    stateful_callbacks: {},
  };
}

import { OptionError } from '../core/errors';
import type { Precision } from '../engine/precision';
import type { CallbackState } from './callbacks/callback';
import type { TrainingOptions } from './config';
import type { PlateauState } from './plateau';
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
  /** How far reduce_lr_on_plateau has come. */
  plateau?: PlateauState;
}

/** trainer_state.json: transformers' keys, and what is ours as one of the callbacks. */
export interface SavedState extends Omit<TrainerState, 'stateful_callbacks'> {
  stateful_callbacks: { tunebook: Ours; [callback: string]: Ours | CallbackState | CallbackState[] };
}

/** How long a run is. */
export interface Length {
  rowsPerStep: number;
  /** Rows that an epoch sees. */
  rowsPerEpoch: number;
  stepsPerEpoch: number;
  total: number;
  warmup: number;
}

export function lengthOfRun(args: TrainingOptions, rows: number): Length {
  const { per_device_train_batch_size: batch, gradient_accumulation_steps, dataloader_drop_last } = args;
  const rowsPerStep = batch * gradient_accumulation_steps;
  const rowsPerEpoch = dataloader_drop_last ? Math.floor(rows / batch) * batch : rows;
  if (rows && !rowsPerEpoch)
    throw new OptionError(
      `dataloader_drop_last leaves out every row: there are ${rows} rows, fewer than per_device_train_batch_size (${batch}). Lower that, or set dataloader_drop_last to false.`,
    );
  const stepsPerEpoch = Math.ceil(rowsPerEpoch / rowsPerStep);
  const total = args.max_steps > 0 ? args.max_steps : Math.ceil(args.num_train_epochs * stepsPerEpoch);
  const warmup = args.warmup_steps < 1 ? Math.ceil(args.warmup_steps * total) : args.warmup_steps;
  return { rowsPerStep, rowsPerEpoch, stepsPerEpoch, total, warmup };
}

/** What `train` resolves with. */
export interface TrainOutput {
  global_step: number;
  training_loss: number;
  /** True when the run was interrupted: everything is saved, and `train({ resume_from_checkpoint: true })` goes on. */
  stopped: boolean;
  checkpoint: string | null;
  metrics: Record<string, number>;
}

/** Takes over where a saved run was. */
export function takeOver(state: TrainerState, saved: SavedState): void {
  const { global_step, epoch, num_input_tokens_seen, total_flos, log_history, best_metric, best_global_step, best_model_checkpoint } =
    saved;
  Object.assign(state, { global_step, epoch, num_input_tokens_seen, total_flos, log_history });
  Object.assign(state, { best_metric, best_global_step, best_model_checkpoint });
}

/** What is logged of a whole run, under transformers' names. */
export function figuresOfRun(its: { steps: number; seconds: number; lossSum: number; rowsPerStep: number; flos: number }) {
  const { steps, seconds, lossSum, rowsPerStep, flos } = its;
  return {
    train_runtime: seconds,
    train_samples_per_second: (steps * rowsPerStep) / seconds,
    train_steps_per_second: steps / seconds,
    total_flos: flos,
    train_loss: steps ? lossSum / steps : 0,
  };
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

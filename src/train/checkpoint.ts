import { existsSync } from 'node:fs';
import { access, constants, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FileError, InterruptedError } from '../core/errors';
import { sortedJson } from '../core/json';
import type { Precision } from '../engine/precision';
import * as tf from '../engine/tf';
import { readJson } from '../formats/json';
import { readSafetensors, type SafeTensor, writeSafetensors } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import type { TrainingOptions } from './config';
import type { Optimizer } from './optimizers';
import { type Lineage, type Origin, place, savingTime } from './output_dir';
import type { Run } from './run';

/** trainer_state.json: transformers' keys, and what is needed to go on bit for bit. */
export interface TrainerState {
  global_step: number;
  epoch: number;
  max_steps: number;
  num_train_epochs: number;
  train_batch_size: number;
  num_input_tokens_seen: number;
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
  stateful_callbacks: {
    tunebook: {
      micro_batch_tokens: number;
      precision?: Precision;
      fingerprint: string;
      series: Run['series'];
      samples?: Run['samples'];
      /** Where another was set than args.learning_rate while training. */
      learning_rate_set?: number;
      loss_since_log: [sum: number, count: number];
    };
  };
}

type Ours = TrainerState['stateful_callbacks']['tunebook'];

/** What is saved of a run where it is now. */
export function trainerState(
  args: TrainingOptions,
  run: Run,
  { stepsPerEpoch, tokensSeen, log }: { stepsPerEpoch: number; tokensSeen: number; log: TrainerState['log_history'] },
  ours: Omit<Ours, 'series' | 'samples'>,
): TrainerState {
  return {
    global_step: run.step,
    epoch: run.step / stepsPerEpoch,
    max_steps: run.totalSteps,
    num_train_epochs: Math.ceil(run.totalSteps / stepsPerEpoch),
    train_batch_size: args.per_device_train_batch_size,
    num_input_tokens_seen: tokensSeen,
    logging_steps: args.logging_steps,
    eval_steps: args.eval_steps ?? args.logging_steps,
    save_steps: args.save_steps,
    best_metric: null,
    best_global_step: null,
    best_model_checkpoint: null,
    log_history: log,
    total_flos: 0,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    trial_name: null,
    trial_params: null,
    stateful_callbacks: { tunebook: { ...ours, series: run.series, samples: run.samples } },
  };
}

/** Fails at once when nothing could be saved later. */
export async function checkWritable(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new FileError(
      `output_dir '${folder}' cannot be written (${(error as Error).message}). Choose a folder of your own, or fix its permissions.`,
    );
  }
}

/** What is written beside the state: whose it is, and how it was made. */
export interface About {
  runs: Lineage;
  args: object;
}

/** Writes one checkpoint folder under another name and renames it when it is whole and on the disk. */
export async function saveCheckpoint(
  folder: string,
  optimizer: Optimizer,
  state: TrainerState,
  { runs, args }: About,
  saveModel: (folder: string) => Promise<void>,
): Promise<void> {
  try {
    await place(folder, async (partial) => {
      const write = (name: string, text: string) => writeFile(join(partial, name), text, { flush: true });
      await mkdir(partial, { recursive: true });
      await saveModel(partial);
      await writeSafetensors(join(partial, 'optimizer.safetensors'), optimizer.state());
      await write('trainer_state.json', sortedJson(state));
      await write('training_args.json', `${JSON.stringify(args, null, 2)}\n`);
      const { fingerprint } = state.stateful_callbacks.tunebook;
      const origin: Origin = { runs, saved_at: savingTime(dirname(folder)), fingerprint };
      await write('run.json', `${JSON.stringify(origin)}\n`);
    });
  } catch (error) {
    if (error instanceof InterruptedError) throw error; // it was meant for the run
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const why = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code) ? `the disk is full (${code})` : (error as Error).message;
    throw new FileError(`The checkpoint '${folder}' could not be saved: ${why}.`);
  }
}

/** Why a run cannot go on from a checkpoint; undefined where it can. `weights`: the file that holds what is trained. */
export async function faultOf(folder: string, weights: string): Promise<string | undefined> {
  if (existsSync(join(folder, 'optimizer.pt'))) return 'it was saved by transformers, whose optimizer.pt is not read here';
  for (const name of ['trainer_state.json', weights, 'optimizer.safetensors'])
    if (!existsSync(join(folder, name))) return `it has no ${name}: it is not a whole checkpoint of this kind of training`;
  try {
    for (const name of [weights, 'optimizer.safetensors']) await readSafetensors(join(folder, name));
    const state = await loadState(folder);
    if (!Number.isInteger(state.global_step) || !state.stateful_callbacks?.tunebook)
      return 'its trainer_state.json does not say how to go on';
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return error.message.replace(/\.$/, '');
  }
  return undefined;
}

export const loadState = async (folder: string): Promise<TrainerState> =>
  (await readJson(join(folder, 'trainer_state.json'))) as unknown as TrainerState;

export async function loadOptimizer(folder: string, step: number, optimizer: Optimizer): Promise<void> {
  const path = join(folder, 'optimizer.safetensors');
  const file = await readSafetensors(path);
  await withFile(path, (read) =>
    optimizer.restore(step, async (name, shape) => {
      const stored = file.tensors.get(name);
      if (stored?.shape.join() !== shape.join())
        throw new FileError(`${path} has no ${name} of [${shape}]: the checkpoint is of another model or configuration.`);
      return tf.tensor(new Float32Array((await read(stored as SafeTensor)).buffer), shape);
    }),
  );
}

/** Settings that change what a step does, and may change while a run goes on. */
const SETTINGS = `learning_rate lr_scheduler_type warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon optim max_grad_norm
  r lora_alpha lora_dropout use_rslora`.split(/\s+/);

/** What a checkpoint was made with and is different now, in words; empty where nothing is. */
export async function changedSettings(folder: string, now: object): Promise<string[]> {
  const files = ['training_args.json', 'adapter_config.json'].map((name) => join(folder, name)).filter(existsSync);
  const before = Object.assign({}, ...(await Promise.all(files.map(readJson)))) as Record<string, unknown>;
  const given = now as Record<string, unknown>;
  const differs = (name: string) => name in before && name in given && before[name] !== given[name];
  return SETTINGS.filter(differs).map((name) => `${name} ${before[name]} -> ${given[name]}`);
}

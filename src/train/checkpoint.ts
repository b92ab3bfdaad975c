import { existsSync, readdirSync, renameSync } from 'node:fs';
import { access, constants, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, InterruptedError } from '../core/errors';
import { sortedJson } from '../core/json';
import type { Precision } from '../engine/precision';
import * as tf from '../engine/tf';
import { readJson } from '../formats/json';
import { readSafetensors, type SafeTensor, writeSafetensors } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import type { TrainingOptions } from './config';
import type { AdamW } from './optimizer';
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

/** Writes one checkpoint folder under another name and renames it when it is whole. */
export async function saveCheckpoint(
  folder: string,
  optimizer: AdamW,
  state: TrainerState,
  args: object,
  saveModel: (folder: string) => Promise<void>,
): Promise<void> {
  const partial = `${folder}.partial`;
  const old = `${folder}.old`;
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    await saveModel(partial);
    await writeSafetensors(join(partial, 'optimizer.safetensors'), optimizer.state());
    await writeFile(join(partial, 'trainer_state.json'), sortedJson(state));
    await writeFile(join(partial, 'training_args.json'), `${JSON.stringify(args, null, 2)}\n`);
    if (existsSync(folder)) await rename(folder, old);
    await rename(partial, folder);
    await rm(old, { recursive: true, force: true });
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => {});
    if (error instanceof InterruptedError) throw error; // it was meant for the run
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const why = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code) ? `the disk is full (${code})` : (error as Error).message;
    throw new FileError(`The checkpoint '${folder}' could not be saved: ${why}.`);
  }
}

/** The steps of the checkpoints in a folder, ascending. */
export function checkpointSteps(folder: string): number[] {
  if (!existsSync(folder)) return [];
  // A process that died while it replaced a checkpoint has left the one before under this name.
  for (const name of readdirSync(folder)) {
    const whole = name.match(/^(checkpoint-\d+)\.old$/)?.[1];
    if (whole && !existsSync(join(folder, whole))) renameSync(join(folder, name), join(folder, whole));
  }
  return readdirSync(folder)
    .flatMap((name) => name.match(/^checkpoint-(\d+)$/)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** The checkpoint that `resume_from_checkpoint` means: a path, or true for the last one in output_dir. */
export function findCheckpoint(wanted: string | true, outputDir: string): string {
  if (wanted !== true) {
    if (!existsSync(join(wanted, 'trainer_state.json')))
      throw new FileError(`'${wanted}' is not a checkpoint: it has no trainer_state.json.`);
    return wanted;
  }
  const last = checkpointSteps(outputDir).at(-1);
  if (last === undefined)
    throw new FileError(`There is no checkpoint in '${outputDir}' to resume from. Train first, or give the path of a checkpoint.`);
  return join(outputDir, `checkpoint-${last}`);
}

export async function loadState(folder: string, optimizer: AdamW): Promise<TrainerState> {
  const state = (await readJson(join(folder, 'trainer_state.json'))) as unknown as TrainerState;
  const path = join(folder, 'optimizer.safetensors');
  const file = await readSafetensors(path);
  await withFile(path, (read) =>
    optimizer.restore(state.global_step, async (name, shape) => {
      const stored = file.tensors.get(name);
      if (stored?.shape.join() !== shape.join())
        throw new FileError(`${path} has no ${name} of [${shape}]: the checkpoint is of another model or configuration.`);
      return tf.tensor(new Float32Array((await read(stored as SafeTensor)).buffer), shape);
    }),
  );
  return state;
}

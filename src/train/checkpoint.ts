import { existsSync } from 'node:fs';
import { access, constants, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FileError, InterruptedError, OptionError } from '../core/errors';
import { sortedJson } from '../core/json';
import { show } from '../core/options';
import * as tf from '../engine/tf';
import { whyUnwritten, writeText } from '../formats/atomic';
import { readJson } from '../formats/json';
import { readSafetensors, type SafeTensor, type Writable, writeSafetensors } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import { changedFile, checksums } from './checksums';
import type { Optimizer } from './optimizers';
import { fittingIn, type Lineage, type Origin, originOf, place, savingTime } from './output_dir';
import type { SavedState } from './state';

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

/** Writes one checkpoint folder under another name and renames it when it is whole and on the disk. `remembered`: what the optimizer and the method have to. */
export async function saveCheckpoint(
  folder: string,
  remembered: Writable[],
  state: SavedState,
  { runs, args }: About,
  saveModel: (folder: string) => Promise<void>,
): Promise<void> {
  try {
    await place(folder, async (partial) => {
      const write = (name: string, text: string) => writeText(join(partial, name), text);
      await mkdir(partial, { recursive: true });
      await saveModel(partial);
      await writeSafetensors(join(partial, 'optimizer.safetensors'), remembered);
      await write('trainer_state.json', sortedJson(state));
      await write('training_args.json', `${JSON.stringify(args, null, 2)}\n`);
      const { fingerprint } = state.stateful_callbacks.tunebook;
      const origin: Origin = { runs, saved_at: savingTime(dirname(folder)), fingerprint, sha256: await checksums(partial) };
      await write('run.json', `${JSON.stringify(origin)}\n`);
    });
  } catch (error) {
    if (error instanceof InterruptedError) throw error; // it was meant for the run
    throw new FileError(`The checkpoint '${folder}' could not be saved: ${whyUnwritten(error)}.`);
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
  const changed = await changedFile(folder, originOf(folder).sha256, [weights, 'optimizer.safetensors', 'trainer_state.json']);
  return changed && `its ${changed} is damaged: it is not what was saved (by its SHA-256)`;
}

export const loadState = async (folder: string): Promise<SavedState> =>
  (await readJson(join(folder, 'trainer_state.json'))) as unknown as SavedState;

/** Takes over a checkpoint's weights and what its optimizer remembers; nothing is changed where it was made with other data. */
export async function loadCheckpoint(
  folder: string,
  fingerprint: string,
  model: { restore(folder: string): Promise<void>; recall?: Recall },
  optimizer: Optimizer,
): Promise<SavedState> {
  const state = await loadState(folder);
  const made = state.stateful_callbacks.tunebook.fingerprint;
  if (made !== fingerprint) {
    const other = fittingIn(dirname(folder), fingerprint);
    throw new OptionError(
      `The checkpoint '${folder}' was made with other data or batches (${made}) than now (${fingerprint}). Resume with the same ones, or start afresh.` +
        (other ? ` '${other}' was made with those of now: give its path to go on from there.` : ''),
    );
  }
  await model.restore(folder);
  await remember(folder, async (read, names) => {
    await optimizer.restore(state.global_step, names, read);
    await model.recall?.(read);
  });
  return state;
}

type Read = (name: string, shape: number[]) => Promise<tf.Tensor>;
type Recall = (read: Read) => Promise<void>;

/** `take`: given the names there are, and how to read one. What nobody reads is of something that is not trained now. */
async function remember(folder: string, take: (read: Read, names: string[]) => Promise<void>): Promise<void> {
  const path = join(folder, 'optimizer.safetensors');
  const file = await readSafetensors(path);
  const left = new Set(file.tensors.keys());
  await withFile(path, (read) =>
    take(
      async (name, shape) => {
        const stored = file.tensors.get(name);
        if (stored?.shape.join() !== shape.join())
          throw new FileError(`${path} has no ${name} of [${shape}]: the checkpoint is of another model or configuration.`);
        left.delete(name);
        return tf.tensor(new Float32Array((await read(stored as SafeTensor)).buffer), shape);
      },
      [...left],
    ),
  );
  const [first] = left;
  if (first)
    throw new FileError(
      `${path} has ${first}${left.size > 1 ? ` and ${left.size - 1} more` : ''}, which this run does not train: the checkpoint is of another configuration, or parts of the model are frozen now (unfreeze).`,
    );
}

/** Settings that change what a step does, and may change while a run goes on. */
const SETTINGS =
  `learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps weight_decay adam_beta1 adam_beta2 adam_epsilon optim optim_args neftune_noise_alpha max_grad_norm
  loraplus_lr_ratio loraplus_lr_embedding layerwise_lr_decay param_groups label_smoothing_factor
  r lora_alpha lora_dropout use_rslora`.split(/\s+/);

const plain = (value: unknown) => (typeof value === 'string' ? value : show(value));

/** What a checkpoint was made with and is different now, in words to be added to a sentence; '' where nothing is. `steps`: in all, then and now. */
export async function changedSettings(folder: string, now: object, [then, total]: [number, number]): Promise<string> {
  const files = ['training_args.json', 'adapter_config.json'].map((name) => join(folder, name)).filter(existsSync);
  const before = Object.assign({}, ...(await Promise.all(files.map(readJson)))) as Record<string, unknown>;
  const given = now as Record<string, unknown>;
  const differs = (name: string) => name in before && name in given && show(before[name]) !== show(given[name]);
  const changed = SETTINGS.filter(differs).map((name) => `${name} ${plain(before[name])} -> ${plain(given[name])}`);
  if (then !== total) changed.push(`steps in all ${then} -> ${total}`);
  return changed.length ? `, with other settings than it was saved with: ${changed.join(', ')}` : '';
}

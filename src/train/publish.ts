import { copyFile, link, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { emit } from '../core/events';
import { readOptions } from '../core/options';
import { writeText } from '../formats/atomic';
import { type GivenPush, tellPushed } from '../hub/push';
import { openRepo, PUSH_ALIASES, PUSH_DEFAULTS, type Pushed, type PushOptions, pushFolder } from '../hub/upload';
import { type CardParts, modelCard, PICTURE } from './card';
import type { TrainingOptions } from './config';

/** Files of a checkpoint that only a run that goes on from it needs. */
const OF_THE_RUN = ['optimizer.safetensors', 'trainer_state.json', 'training_args.json', 'run.json'];

/** The repository of a run: hub_model_id, or what output_dir is called. */
export const repoOfRun = (args: TrainingOptions): string => args.hub_model_id ?? basename(resolve(args.output_dir));

export const pushOptions = (args: TrainingOptions, more: Partial<PushOptions> = {}): PushOptions => ({
  ...PUSH_DEFAULTS,
  ...{ private: args.hub_private_repo, token: args.hub_token, revision: args.hub_revision },
  ...more,
});

/** What a card tells of. */
type Told = Pick<CardParts, 'model' | 'args' | 'state' | 'run'>;

/** Writes README.md into a folder, with the picture of the run where somebody draws it. `repo`: where it will stand. */
export async function writeCard(folder: string, { model, args, state, run }: Told, repo?: string): Promise<void> {
  let picture: Uint8Array | undefined;
  const give = (png: Uint8Array) => {
    picture = png;
  };
  if (run?.step) emit('picture', { run, give });
  await mkdir(folder, { recursive: true });
  if (picture) await writeFile(join(folder, PICTURE), picture);
  const name = repoOfRun(args).split('/').at(-1) as string;
  await writeText(join(folder, 'README.md'), modelCard({ model, args, state, run, name, repo, pictured: picture !== undefined }));
}

/** What trainer.push_to_hub does. */
export async function publish(trainer: Told & { save_model(folder?: string): Promise<void> }, given: string | GivenPush): Promise<Pushed> {
  const { args } = trainer;
  const said = typeof given === 'string' ? { commit_message: given } : given;
  const options = readOptions('push_to_hub', said, pushOptions(args, { commit_message: 'End of training' }), PUSH_ALIASES);
  await trainer.save_model();
  const folder = await mkdtemp(join(args.output_dir, '.push-'));
  try {
    await trainer.save_model(folder);
    const repo = await openRepo(repoOfRun(args), options);
    await writeCard(folder, trainer, repo);
    const pushed = await pushFolder(repo, folder, options);
    tellPushed(pushed);
    return pushed;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same bytes under another name: the first may be deleted meanwhile. */
async function same(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await link(from, to).catch(() => copyFile(from, to));
}

/** Puts what is to be pushed of a checkpoint into a folder beside it; `state`: the folder in the repository for what a run goes on from. */
export async function stage(checkpoint: string, state: string | null): Promise<string> {
  const folder = await mkdtemp(join(dirname(checkpoint), '.push-'));
  const files = async (inside: string): Promise<string[]> =>
    (
      await Promise.all(
        (
          await readdir(join(checkpoint, inside), { withFileTypes: true })
        ).map((entry) => (entry.isDirectory() ? files(join(inside, entry.name)) : [join(inside, entry.name)])),
      )
    ).flat();
  for (const file of await files('')) {
    if (!OF_THE_RUN.includes(file)) await same(join(checkpoint, file), join(folder, file));
    if (state) await same(join(checkpoint, file), join(folder, state, file));
  }
  return folder;
}

/** Pushes a staged folder with the card that `describe` puts into it, and takes it away. */
export async function pushStaged(
  folder: string,
  args: TrainingOptions,
  commit_message: string,
  describe: (repo: string) => Promise<void>,
): Promise<Pushed> {
  try {
    const options = pushOptions(args, { commit_message });
    const repo = await openRepo(repoOfRun(args), options);
    await describe(repo);
    return await pushFolder(repo, folder, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Takes away what a push that was killed left. */
export async function clearStaged(output_dir: string): Promise<void> {
  for (const name of await readdir(output_dir).catch(() => []))
    if (/^\.push-\w{6}$/.test(name)) await rm(join(output_dir, name), { recursive: true, force: true });
}

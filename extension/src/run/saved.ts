import type { Contents } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { type RunData, savedRun } from '@tunebook/views';

/** Folders that are looked into for saved runs. */
const MOST = 12;
/** Bytes of a file that is read: a long run's trainer_state.json has some megabytes. */
const LARGEST = 50e6;
const CHECKPOINT = /^checkpoint-(\d+)$/;

/** What a folder holds; nothing where it cannot be listed. */
const listed = (contents: Contents.IManager, path: string): Promise<Contents.IModel[]> =>
  contents.get(path, { content: true, type: 'directory' }).then(
    ({ content }) => (Array.isArray(content) ? content : []),
    () => [],
  );

async function json(contents: Contents.IManager, path: string): Promise<unknown> {
  try {
    const { content } = await contents.get(path, { content: true, type: 'file', format: 'text' });
    return JSON.parse(String(content));
  } catch {
    return undefined;
  }
}

/** The run that was saved in a folder, which is a checkpoint's or holds some; or a sentence that says why there is none. */
export async function readSaved(contents: Contents.IManager, folder: string, trans: TranslationBundle): Promise<RunData | string> {
  const files = await listed(contents, folder);
  if (!files.length) return trans.__('There is no folder “%1”, or nothing in it.', folder);
  const state = files.find(({ name }) => name === 'trainer_state.json');
  if (!state) {
    const checkpoints = files.flatMap(({ name, path }) =>
      CHECKPOINT.test(name) ? [{ path, step: Number(CHECKPOINT.exec(name)?.[1]) }] : [],
    );
    const newest = checkpoints.sort((a, b) => b.step - a.step)[0];
    if (!newest) return trans.__('“%1” holds neither a trainer_state.json nor a checkpoint: no run was saved in it.', folder);
    const run = await readSaved(contents, newest.path, trans);
    return typeof run === 'string' ? run : { ...run, name: folder, folder };
  }
  if ((state.size ?? 0) > LARGEST) return trans.__('The trainer_state.json in “%1” is too large for a page.', folder);
  const [said, ...options] = await Promise.all(
    ['trainer_state.json', 'adapter_config.json', 'training_args.json'].map((name) =>
      files.some((file) => file.name === name) ? json(contents, `${folder}/${name}`) : undefined,
    ),
  );
  return savedRun(folder, said, options);
}

/** The runs that are saved in the folders beside one. */
export async function savedBeside(contents: Contents.IManager, folder: string, trans: TranslationBundle): Promise<RunData[]> {
  const above = folder.split('/').slice(0, -1).join('/');
  const folders = (await listed(contents, above)).filter(({ type, path }) => type === 'directory' && path !== folder).slice(0, MOST);
  const runs: RunData[] = [];
  for (const { path } of folders) {
    const isRun = (await listed(contents, path)).some(({ name }) => CHECKPOINT.test(name));
    const run = isRun ? await readSaved(contents, path, trans) : '';
    if (typeof run !== 'string') runs.push(run);
  }
  return runs;
}

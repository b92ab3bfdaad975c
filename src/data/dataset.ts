import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { DataError, OptionError } from '../core/errors';
import { cellText, tableHtml } from '../core/html';
import { checkNumber, show } from '../core/options';
import { Random } from '../core/random';
import { DISPLAY, type Shown } from '../core/shown';
import { writeText } from '../formats/atomic';
import { card } from '../hub/card';
import { type GivenPush, pushSaved } from '../hub/push';
import type { Pushed } from '../hub/upload';
import {
  type ColumnOf,
  type Columns,
  checkColumns,
  columnNames,
  columnsOf,
  filterOptions,
  type MapOptions,
  type Merged,
  mapOptions,
  mergedBatch,
  mergedRow,
  namesOf,
  noColumn,
  only,
  renamed,
  rowsOfColumns,
  without,
} from './columns';
import { IterableDataset } from './iterable_dataset';
import { partition, type SplitOptions } from './partition';
import type { Row } from './rows';
import { type SortOptions, sorted } from './sorting';
import { splitFiles } from './splits';

export type { Row };

/** Rows that a notebook shows, and characters of each value. */
const [SHOWN, LONGEST] = [5, 300];
const jsonLines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const shortened = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

/** A conversation as a person reads it, a turn a line; undefined for what is none. */
function conversationText(value: unknown): string | undefined {
  const isTurn = (turn: unknown): turn is { role: string; content: string } =>
    typeof (turn as { role?: unknown } | null)?.role === 'string' && typeof (turn as { content?: unknown }).content === 'string';
  if (!Array.isArray(value) || !value.length || !value.every(isTurn)) return undefined;
  return value.map(({ role, content }) => `${role}: ${content}`).join('\n');
}

/** Rows as they are given, unless they are none. */
function checkRows<R extends object>(owner: string, rows: R[]): R[] {
  const isRow = (row: unknown) => typeof row === 'object' && row !== null && !Array.isArray(row);
  const wrong = Array.isArray(rows) ? rows.findIndex((row) => !isRow(row)) : -1;
  if (!Array.isArray(rows) || wrong >= 0)
    throw new DataError(
      `Dataset.${owner} takes rows, objects with the columns as keys: [{ question: 'a', answer: 'b' }], but ${wrong < 0 ? `got ${show(rows)}` : `row ${wrong} is ${show(rows[wrong])}`}.`,
    );
  return rows;
}

/** Names that JavaScript, test tools and notebooks ask any object for: no columns, unless there are such. */
const ASKED_OF_ALL = /^(then|toJSON|inspect|asymmetricMatch|nodeType|nodeName|tagName|outerHTML|hasAttribute|[$@_].*)$/;

/** dataset[0] and dataset['question'], as in Python. What is not there is an error. */
const BY_INDEX: ProxyHandler<Dataset> = {
  get(dataset, name, itself) {
    if (typeof name === 'symbol' || name in dataset) return Reflect.get(dataset, name, itself);
    if (/^-?[\d.]+$/.test(name)) return dataset.at(Number(name));
    if (dataset.column_names.includes(name)) return [...dataset].map((row) => row[name] ?? null);
    if (ASKED_OF_ALL.test(name)) return undefined;
    throw new DataError(`The ${noColumn(name, dataset.column_names)}`);
  },
};

/**
 * Rows in memory, with the methods of Hugging Face's datasets that notebooks use: `dataset[0]` is a row, `dataset.at(-1)` the last one,
 * `dataset['question']` a column. A DataError says what there is where there is no such row or column. Each method gives another dataset.
 */
export class Dataset<R extends object = Row> implements Iterable<R> {
  readonly [index: number]: R;

  constructor(private readonly rows: readonly R[]) {
    // biome-ignore lint/correctness/noConstructorReturn: rows and columns are found by index
    return new Proxy(this as unknown as Dataset<Row>, BY_INDEX) as unknown as Dataset<R>;
  }

  /** A dataset of rows in memory: objects with the columns as keys. */
  static from_list<R extends object>(rows: R[]): Dataset<R> {
    return new Dataset(checkRows('from_list', rows));
  }
  /** A dataset of columns: lists of values, all of one length. */
  static from_dict<R extends object>(columns: Columns<R>): Dataset<R> {
    return new Dataset(rowsOfColumns(columns) as R[]);
  }
  /** A dataset of what a generator function yields. */
  static from_generator<R extends object>(generator: () => Iterable<R>): Dataset<R> {
    return new Dataset(checkRows('from_generator', [...generator()]));
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
    return columnNames(this.rows);
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

  [DISPLAY](): Shown {
    const first = this.rows.slice(0, SHOWN).map((row, i) => ({ '': i, ...row }));
    const cell = (value: unknown) => shortened(conversationText(value) ?? cellText(value));
    const size = `${this.length} rows${this.length > SHOWN ? `, of which the first ${SHOWN}` : ''}`;
    return { 'text/plain': this[inspect.custom](), 'text/html': `<p>${size}:</p>${tableHtml(first, cell)}` };
  }

  /** The rows of these numbers, in this order. */
  select(indices: Iterable<number>): Dataset<R> {
    return new Dataset([...indices].map((i) => this.at(i)));
  }
  /** The first n rows. */
  take(n: number): Dataset<R> {
    return new Dataset(this.rows.slice(0, n));
  }
  /** All rows but the first n. */
  skip(n: number): Dataset<R> {
    return new Dataset(this.rows.slice(n));
  }
  /** The rows n times, one after another. */
  repeat(n: number): Dataset<R> {
    checkNumber('repeat', 'n', n, { integer: true, min: 0 }, 'It is how often the rows come.');
    return new Dataset(Array.from({ length: n }, () => this.rows).flat());
  }
  /** One of so many parts of the rows: one piece of them, or every num_shards-th row with `contiguous: false`. */
  shard({ num_shards, index, contiguous = true }: { num_shards: number; index: number; contiguous?: boolean }): Dataset<R> {
    checkNumber('shard', 'num_shards', num_shards, { integer: true, min: 1 }, 'It is the number of parts.');
    checkNumber('shard', 'index', index, { integer: true, min: 0, below: num_shards }, 'Parts are counted from 0.');
    if (!contiguous) return new Dataset(this.rows.filter((_, i) => i % num_shards === index));
    const [each, more] = [Math.floor(this.length / num_shards), this.length % num_shards];
    const from = each * index + Math.min(index, more);
    return new Dataset(this.rows.slice(from, from + each + (index < more ? 1 : 0)));
  }

  /**
   * A dataset of rows with what `f` makes of each (and its number) merged in, as in Python: its columns are added or take the place of those of
   * the same names; `remove_columns` are left out. With `batched` f gets columns of values and gives such, of any length.
   */
  map<T extends object, Gone extends ColumnOf<R> = never>(
    f: (batch: Columns<R>, indices: number[]) => Columns<T>,
    options: Partial<MapOptions<Gone>> & { batched: true } & Record<string, unknown>,
  ): Dataset<Merged<R, T, Gone>>;
  map<T extends object, Gone extends ColumnOf<R> = never>(
    f: (row: R, i: number) => T | null | undefined,
    options?: Partial<MapOptions<Gone>> & { batched?: false } & Record<string, unknown>,
  ): Dataset<Merged<R, T, Gone>>;
  map(f: (row: never, i: never) => unknown, options?: object): Dataset<object> {
    const { batched, batch_size, remove_columns } = mapOptions(options);
    const gone = namesOf(remove_columns);
    if (gone.length) checkColumns('map', gone, this.column_names);
    if (!batched) return new Dataset(this.rows.map((row, i) => mergedRow(row, f(row as never, i as never), i, gone)));
    const made: Row[] = [];
    const size = batch_size ?? this.length;
    for (let from = 0; from < this.length; from += size) {
      const rows = this.rows.slice(from, from + size);
      const numbers = rows.map((_, i) => from + i);
      for (const row of mergedBatch(rows, f(columnsOf(rows) as never, numbers as never), from, gone)) made.push(row);
    }
    return new Dataset(made);
  }
  /** The rows for which `f` is true. */
  filter<T extends R>(f: (row: R, i: number) => row is T, options?: Record<string, unknown>): Dataset<T>;
  filter(f: (row: R, i: number) => boolean, options?: Record<string, unknown>): Dataset<R>;
  filter(f: (row: R, i: number) => boolean, options?: Record<string, unknown>): Dataset<R> {
    filterOptions(options);
    return new Dataset(this.rows.filter(f));
  }
  /** All rows in an order that the seed draws: the same seed gives the same order. */
  shuffle({ seed = 42 }: { seed?: number } = {}): Dataset<R> {
    return new Dataset(Random.seeded(seed).shuffled(this.rows));
  }
  /**
   * All rows by the values of a column, or of several: by the first, among equals by the next. `reverse`: descending, for all or each of them;
   * rows without a value come last either way, or first with `null_placement: 'at_start'`.
   */
  sort(column_names: ColumnOf<R> | ColumnOf<R>[], options: Partial<SortOptions> & Record<string, unknown> = {}): Dataset<R> {
    const names = namesOf(column_names);
    checkColumns('sort', names, this.column_names);
    return new Dataset(sorted(this.rows, names, options));
  }

  /** The rows with these columns alone. */
  select_columns<K extends ColumnOf<R>>(column_names: K | K[]): Dataset<string extends K ? Row : Pick<R, K & keyof R>> {
    const names = namesOf(column_names);
    checkColumns('select_columns', names, this.column_names);
    return new Dataset(this.rows.map((row) => only(row, names))) as never;
  }
  /** The rows without these columns. */
  remove_columns<K extends ColumnOf<R>>(column_names: K | K[]): Dataset<string extends K ? Row : Omit<R, K>> {
    const names = namesOf(column_names);
    checkColumns('remove_columns', names, this.column_names);
    return new Dataset(this.rows.map((row) => without(row, names))) as never;
  }
  /** The rows with a column under another name. */
  rename_column<K extends ColumnOf<R>, N extends string>(
    from: K,
    to: N,
  ): Dataset<string extends K ? Row : Omit<R, K> & Record<N, R[K & keyof R]>> {
    return this.rename_columns({ [from]: to }) as never;
  }
  /** The rows with columns under other names: { old: 'new' }. */
  rename_columns(names: Readonly<Record<string, string>>): Dataset<Row> {
    const there = this.column_names;
    checkColumns('rename_columns', Object.keys(names), there);
    const after = there.map((name) => (Object.hasOwn(names, name) ? names[name] : name));
    const twice = after.find((name, i) => after.indexOf(name) !== i);
    if (twice !== undefined) throw new DataError(`rename_columns: two columns would be called ${show(twice)}.`);
    return new Dataset(this.rows.map((row) => renamed(row, names)));
  }
  /** The rows with one more column, of as many values. */
  add_column<N extends string, T>(name: N, values: readonly T[]): Dataset<Merged<R, Record<N, T>>> {
    if (this.column_names.includes(name)) throw new DataError(`add_column: the dataset has a column ${show(name)} already.`);
    if (values.length !== this.length)
      throw new DataError(`add_column: ${show(name)} has ${values.length} values, and the dataset ${this.length} rows.`);
    return new Dataset(this.rows.map((row, i) => ({ ...row, [name]: values[i] }))) as never;
  }
  /** The different values of a column, in the order in which they come. */
  unique<K extends ColumnOf<R>>(column: K): (K extends keyof R ? R[K] : unknown)[] {
    checkColumns('unique', [column], this.column_names);
    return [...new Set(this.rows.map((row) => (row as Row)[column] ?? null))] as never;
  }
  /** The rows as a stream: for a mixture with others, say. */
  to_iterable_dataset(): IterableDataset<R> {
    return new IterableDataset(() => this.rows);
  }
  /** The rows as a list of objects. */
  to_list(): R[] {
    return [...this.rows];
  }
  /** The rows as columns of values. */
  to_dict(): Columns<R> {
    return columnsOf(this.rows) as Columns<R>;
  }
  /** Writes the rows as JSON Lines, which load_dataset reads here and in Python. */
  async to_json(path: string): Promise<void> {
    await writeText(path, jsonLines(this.rows));
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
      await this.to_json(join(folder, 'data', `${split}.jsonl`));
      const about = `Rows of ${this.column_names.map((name) => `\`${name}\``).join(', ')}.`;
      await writeText(join(folder, 'README.md'), card({ tags: ['tunebook'] }, about));
    };
    return pushSaved(repo_id, options, `${split} rows`, save, 'dataset');
  }

  /**
   * Two datasets: `test_size` (a quarter by default) and `train_size` are shares below 1 or numbers of rows; `stratify_by_column` gives both the
   * same shares of a column's values.
   */
  train_test_split(options: Partial<SplitOptions<ColumnOf<R>>> & Record<string, unknown> = {}): { train: Dataset<R>; test: Dataset<R> } {
    const valuesOf = (column: string) => {
      checkColumns('train_test_split', [column], this.column_names);
      return this.rows.map((row) => (row as Row)[column] ?? null);
    };
    const { train, test } = partition(this.length, valuesOf, options);
    return { train: this.select(train), test: this.select(test) };
  }
}

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { DataError, nearest, OptionError } from '../core/errors';
import { cellText, tableHtml } from '../core/html';
import { checkNumber, show } from '../core/options';
import { Random } from '../core/random';
import { DISPLAY, type Shown } from '../core/shown';
import { writeText } from '../formats/atomic';
import { card } from '../hub/card';
import { type GivenPush, pushSaved } from '../hub/push';
import type { Pushed } from '../hub/upload';
import type { Row } from './rows';
import { splitFiles } from './splits';

export type { Row };

/** Rows that a notebook shows, and characters of each value. */
const [SHOWN, LONGEST] = [5, 300];
const shortened = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

/** A conversation as a person reads it, a turn a line; undefined for what is none. */
function conversationText(value: unknown): string | undefined {
  const isTurn = (turn: unknown): turn is { role: string; content: string } =>
    typeof (turn as { role?: unknown } | null)?.role === 'string' && typeof (turn as { content?: unknown }).content === 'string';
  if (!Array.isArray(value) || !value.length || !value.every(isTurn)) return undefined;
  return value.map(({ role, content }) => `${role}: ${content}`).join('\n');
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

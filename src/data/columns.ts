import { DataError, nearest } from '../core/errors';
import { type Alias, checkNumber, readOptions, show } from '../core/options';
import type { Row } from './rows';

/** A row of R without some columns and with those of T; where the columns of R are not known, any may be there. */
export type Merged<R, T, Gone = never> = string extends keyof R ? Row & T : Flat<Omit<R, keyof T | (Gone & string)> & T>;
/** A type as editors and the checker show it best: its columns. */
type Flat<T> = { [K in keyof T]: T[K] };
/** Rows as columns of values. */
export type Columns<R> = { [K in keyof R]: R[K][] };
/** Names of columns, which editors offer where they are known. */
export type ColumnOf<R> = string extends keyof R ? string : keyof R & string;

/** Options of `map`. */
export interface MapOptions<Gone extends string = string> {
  /** Whether the function gets batches: the columns' values as lists. It may give more or fewer rows. Default: false. */
  batched: boolean;
  /** Rows in a batch; null: all. Default: 1000. */
  batch_size: number | null;
  /** Columns that are left out of what the function's result is merged into. Default: null. */
  remove_columns: Gone | Gone[] | null;
}
const MAP_DEFAULTS: MapOptions = { batched: false, batch_size: 1000, remove_columns: null };

const none = (why: string): Alias => ({ to: null, why });
export const CACHING: Alias = none('rows are in memory, and nothing is cached in files');
/** Options of Python's datasets that mean files and processes that there are none of here. */
const WITHOUT_EFFECT: Record<string, Alias> = {
  ...{ num_proc: none('rows are mapped in one go'), desc: CACHING, keep_in_memory: CACHING, load_from_cache_file: CACHING },
  ...{
    cache_file_name: CACHING,
    writer_batch_size: CACHING,
    new_fingerprint: CACHING,
    features: none('columns have the types of their values'),
  },
  ...{ with_indices: none('the function is always given the number of the row, as its second argument') },
};
const asClosure = (would: string): Alias => ({ to: null, would });

export function mapOptions(given: object | undefined): MapOptions {
  const more = {
    fn_kwargs: asClosure('give the function named arguments; in TypeScript it can use any variable around it'),
    input_columns: asClosure('give the function the values of some columns; take them out of the row: ({ text }) => ...'),
  };
  const options = readOptions('map', given, MAP_DEFAULTS, { ...WITHOUT_EFFECT, ...more });
  if (options.batch_size !== null)
    checkNumber('map', 'batch_size', options.batch_size, { integer: true, min: 1 }, 'It is the number of rows in a batch; null: all.');
  return options;
}

export function filterOptions(given: object | undefined): void {
  readOptions('filter', given, {}, { ...WITHOUT_EFFECT, batched: { to: null, would: 'decide on many rows at once', unused: false } });
}

export const namesOf = (names: string | readonly string[] | null): readonly string[] =>
  names === null ? [] : typeof names === 'string' ? [names] : names;

/** The names of all columns that a row has, in the order in which they come. */
export function columnNames(rows: Iterable<object>): string[] {
  const names = new Set<string>();
  for (const row of rows) for (const name of Object.keys(row)) names.add(name);
  return [...names];
}

/** That there is no such column, and which there are. */
export function noColumn(missing: string, there: readonly string[]): string {
  const guess = nearest(missing, there);
  return `dataset has no column ${show(missing)}; it has ${there.map(show).join(', ') || 'none'}.${guess ? ` Did you mean ${show(guess)}?` : ''}`;
}

/** Fails where a column is asked for that there is not. */
export function checkColumns(owner: string, wanted: readonly string[], there: readonly string[]): void {
  const missing = wanted.find((name) => !there.includes(name));
  if (missing === undefined) return;
  throw new DataError(`${owner}: the ${noColumn(missing, there)}`);
}

export const without = (row: object, gone: readonly string[]): Row =>
  gone.length ? Object.fromEntries(Object.entries(row).filter(([name]) => !gone.includes(name))) : { ...row };

export const only = (row: object, names: readonly string[]): Row =>
  Object.fromEntries(names.flatMap((name) => (Object.hasOwn(row, name) ? [[name, (row as Row)[name]]] : [])));

/** A row with other names of columns, in their places. */
export const renamed = (row: object, names: Readonly<Record<string, string>>): Row =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [Object.hasOwn(names, name) ? names[name] : name, value]));

const isColumns = (made: unknown): made is Row => typeof made === 'object' && made !== null && !Array.isArray(made);

function checkMade(made: unknown, where: string): void {
  if (isColumns(made) && !('then' in made)) return;
  const what = made && typeof (made as { then?: unknown }).then === 'function' ? 'a Promise' : show(made);
  throw new DataError(
    `map: the function gave ${what} for ${where}; it must give an object with columns, { text: ... }, or nothing to leave the row as it is.` +
      (what === 'a Promise' ? ' Let it be no async function.' : ''),
  );
}

/** A row with what the function made of it merged in. */
export function mergedRow(row: object, made: unknown, i: number, gone: readonly string[]): Row {
  if (made === undefined || made === null) return row as Row;
  checkMade(made, `row ${i}`);
  return { ...without(row, gone), ...(made as Row) };
}

/** Rows as the columns that a function of batches gets. */
export const columnsOf = (rows: readonly object[]): Record<string, unknown[]> =>
  Object.fromEntries(columnNames(rows).map((name) => [name, rows.map((row) => (row as Row)[name] ?? null)]));

/** Rows of a batch with what the function made of it merged in. */
export function mergedBatch(rows: readonly object[], made: unknown, from: number, gone: readonly string[]): Row[] {
  if (made === undefined || made === null) return [...rows] as Row[];
  const where = `the batch from row ${from} on`;
  checkMade(made, where);
  const columns = { ...columnsOf(rows.map((row) => without(row, gone))), ...(made as Record<string, unknown>) };
  const odd = Object.entries(columns).find(([, values]) => !Array.isArray(values));
  if (odd)
    throw new DataError(
      `map: the function gave ${show(odd[1])} as column ${show(odd[0])} of ${where}; it must be a list with a value for each row.`,
    );
  const lists = Object.entries(columns) as [string, unknown[]][];
  const lengths = new Set(lists.map(([, values]) => values.length));
  if (lengths.size > 1)
    throw new DataError(
      `map: of ${where} columns have different lengths: ${lists.map(([name, values]) => `${name} ${values.length}`).join(', ')}. ` +
        'Where the function gives another number of rows, leave the old columns out: { batched: true, remove_columns: dataset.column_names }.',
    );
  return zipped(lists);
}

const zipped = (lists: [string, readonly unknown[]][]): Row[] =>
  Array.from({ length: lists[0]?.[1].length ?? 0 }, (_, i) => Object.fromEntries(lists.map(([name, values]) => [name, values[i]])));

/** The rows of columns that someone gives. */
export function rowsOfColumns(columns: unknown): Row[] {
  const takes = 'Dataset.from_dict takes columns, lists of values of one length: { question: [...], answer: [...] }';
  if (!isColumns(columns))
    throw new DataError(`${takes}, but got ${show(columns)}.${Array.isArray(columns) ? ' Of rows: Dataset.from_list.' : ''}`);
  const lists = Object.entries(columns) as [string, unknown[]][];
  const odd = lists.find(([, values]) => !Array.isArray(values) && !ArrayBuffer.isView(values));
  if (odd) throw new DataError(`${takes}, but ${show(odd[0])} is ${show(odd[1])}.`);
  if (new Set(lists.map(([, values]) => values.length)).size > 1)
    throw new DataError(
      `${takes}, but they have different lengths: ${lists.map(([name, values]) => `${name} ${values.length}`).join(', ')}.`,
    );
  return zipped(lists);
}

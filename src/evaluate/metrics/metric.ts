import { DataError, OptionError } from '../../core/errors';
import { readOptions, show } from '../../core/options';

/** One value for each row: predictions, references, scores, weights. */
export type Column = readonly unknown[];

/** What a metric measures of rows. Names of inputs, options and results are those of Python's `evaluate`. */
export interface Metric {
  description: string;
  /** Inputs that have one value a row. */
  inputs: readonly [string, ...string[]];
  /** Inputs of the same kind that may be left out. */
  optional?: readonly string[];
  options: Record<string, unknown>;
  compute(columns: Record<string, Column>, options: Record<string, unknown>): Record<string, unknown>;
}

/** Spells out what a metric's options are, so that `compute` has their types. */
export const metric = <O extends Record<string, unknown>>(
  is: Omit<Metric, 'options' | 'compute'> & {
    options: O;
    compute(columns: Record<string, Column>, options: O): Record<string, unknown>;
  },
): Metric => is as unknown as Metric;

/** A metric's columns and options, checked: every input is there, and as long as the others. */
export function readInputs(
  name: string,
  { inputs, optional = [], options }: Metric,
  given: Record<string, unknown>,
): { columns: Record<string, Column>; options: Record<string, unknown> } {
  const columns: Record<string, Column> = {};
  const rest: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    if (!inputs.includes(key) && !optional.includes(key)) rest[key] = value;
    else if (Array.isArray(value) || ArrayBuffer.isView(value)) columns[key] = Array.from(value as unknown as Column);
    else if (value !== undefined && value !== null)
      throw new DataError(`The metric '${name}' takes ${key} as a list with one value for each row, but was given ${show(value)}.`);
  }
  const read = readOptions(`The metric '${name}'`, rest, options);
  for (const key of inputs)
    if (!columns[key]) throw new DataError(`The metric '${name}' needs ${inputs.join(' and ')}: ${key} are missing.`);
  const rows = columns[inputs[0]].length;
  if (!rows) throw new DataError(`The metric '${name}' was given no rows.`);
  for (const [key, column] of Object.entries(columns))
    if (column.length !== rows)
      throw new DataError(`The metric '${name}' was given ${rows} ${inputs[0]}, but ${column.length} ${key}: each row needs one of both.`);
  return { columns, options: read };
}

/** Numbers of a column, each finite. */
export function numbers(column: Column, what: string): number[] {
  return column.map((value, i) => {
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    if (typeof value === 'boolean') return Number(value);
    throw new DataError(`${what} must be finite numbers, but that of row ${i} is ${show(value)}.`);
  });
}

export function texts(column: Column, what: string): string[] {
  return column.map((value, i) => {
    if (typeof value === 'string') return value;
    throw new DataError(`${what} must be texts, but that of row ${i} is ${show(value)}.`);
  });
}

/** References of which a row may have several: a text, or a list of texts. */
export function textLists(column: Column, what: string): string[][] {
  return column.map((value, i) => {
    const list = typeof value === 'string' ? [value] : value;
    if (Array.isArray(list) && list.length && list.every((text) => typeof text === 'string')) return list;
    throw new DataError(`${what} must be a text, or a list of texts, for each row, but that of row ${i} is ${show(value)}.`);
  });
}

export function oneOf<T extends string | null>(name: string, value: unknown, values: readonly T[]): T {
  if (values.includes(value as T)) return value as T;
  throw new OptionError(`${name} must be one of ${values.map(show).join(', ')}, but is ${show(value)}.`);
}

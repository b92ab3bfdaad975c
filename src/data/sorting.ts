import { DataError, OptionError } from '../core/errors';
import { type Alias, checkOneOf, readOptions, show } from '../core/options';
import { CACHING } from './columns';
import type { Row } from './rows';

const PLACES = ['at_end', 'at_start', 'last', 'first'] as const;

/** Options of `sort`. */
export interface SortOptions {
  /** Whether values descend: in all columns, or in each of them. Default: false. */
  reverse: boolean | readonly boolean[];
  /** Where rows without a value come: 'at_end' or 'at_start' ('last' and 'first' mean the same). Default: 'at_end'. */
  null_placement: (typeof PLACES)[number];
}
const DEFAULTS: SortOptions = { reverse: false, null_placement: 'at_end' };
const WITHOUT_EFFECT: Record<string, Alias> = Object.fromEntries(
  ['keep_in_memory', 'load_from_cache_file', 'indices_cache_file_name', 'writer_batch_size', 'new_fingerprint'].map((name) => [
    name,
    CACHING,
  ]),
);

/** How far a value is from being there: NaN comes beside what is missing, on the side of the values. */
const missing = (value: unknown) => (value === null || value === undefined ? 2 : Number.isNaN(value) ? 1 : 0);

/** Numbers, texts, flags and dates among themselves. */
function compared(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0;
  const [x, y] = [a, b] as [number, number];
  if (typeof a !== typeof b || typeof a === 'string' || (typeof a === 'object' && !(a instanceof Date)))
    throw new DataError(`sort: ${show(a)} and ${show(b)} have no order. A column to sort by has numbers, texts, flags or dates alone.`);
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Rows by the values of these columns, as Hugging Face's datasets sort them. */
export function sorted<R extends object>(rows: readonly R[], names: readonly string[], given: object): R[] {
  const { reverse, null_placement } = readOptions('sort', given, DEFAULTS, WITHOUT_EFFECT);
  checkOneOf('sort', 'null_placement', null_placement, PLACES);
  const flags = Array.isArray(reverse) ? reverse : names.map(() => reverse);
  if (flags.length !== names.length || flags.some((flag) => typeof flag !== 'boolean'))
    throw new OptionError(
      `sort: reverse must be true or false, or a list of such with one for each of ${names.length} columns, but is ${show(reverse)}.`,
    );
  const first = null_placement === 'at_start' || null_placement === 'first';
  const compare = (a: R, b: R) => {
    for (const [i, name] of names.entries()) {
      const [x, y] = [(a as Row)[name], (b as Row)[name]];
      const [far, near] = [missing(x), missing(y)];
      const order = far || near ? (far - near) * (first ? -1 : 1) : compared(x, y) * (flags[i] ? -1 : 1);
      if (order) return order;
    }
    return 0;
  };
  return [...rows].sort(compare);
}

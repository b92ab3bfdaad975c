import type { Choice } from './data_files';

/** Where rows came from, as load_dataset was asked for them. */
export interface Origin {
  /** A name or path. */
  dataset: string;
  split: string;
  /** The configuration and files, where some were named. */
  choice: Choice;
  /** What else was said of how they are read: a delimiter, a revision. */
  reading: Record<string, unknown>;
}

const origins = new WeakMap<object, Origin>();

/** Remembers where rows, or a stream of them, came from; what is made of them by map or filter came from nowhere. */
export function came<D extends object>(rows: D, origin: Origin): D {
  origins.set(rows, origin);
  return rows;
}

/** Where these rows came from; undefined for those that were made in code. */
export const originOf = (rows: object): Origin | undefined => origins.get(rows);

import type { Dataset } from './dataset';

/** Where rows came from, as load_dataset was asked for them. */
export interface Origin {
  /** A name or path. */
  dataset: string;
  /** The configuration, where one was named. */
  name: string | null;
  split: string;
}

const origins = new WeakMap<object, Origin>();

/** Remembers where rows came from; what is made of them by map or filter came from nowhere. */
export function came<D extends Dataset>(rows: D, origin: Origin): D {
  origins.set(rows, origin);
  return rows;
}

/** Where these rows came from; undefined for those that were made in code. */
export const originOf = (rows: object): Origin | undefined => origins.get(rows);

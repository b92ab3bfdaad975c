import { inspect } from 'node:util';
import { checkNumber } from '../core/options';
import { Random } from '../core/random';
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
  only,
  renamed,
  without,
} from './columns';
import type { Row } from './rows';

/** Where rows come from, anew each time it is asked; `epoch` is how often they were gone through. */
export type Source<R> = (epoch: number) => AsyncIterable<R> | Iterable<R>;

/**
 * Rows that come one by one, from files larger than memory say: `for await (const row of dataset)`. Methods are those of Hugging Face's
 * IterableDataset; they do nothing before rows are asked for, and keep no more of them than they need.
 */
export class IterableDataset<R extends object = Row> implements AsyncIterable<R> {
  private epoch = 0;

  constructor(private readonly source: Source<R>) {}

  /** A stream of what a generator function yields, called anew each time the rows are gone through. */
  static from_generator<R extends object>(generator: () => AsyncIterable<R> | Iterable<R>): IterableDataset<R> {
    return new IterableDataset(generator);
  }

  [Symbol.asyncIterator](): AsyncIterator<R> {
    return this.rows(this.epoch)[Symbol.asyncIterator]();
  }
  /** The rows as they come in an epoch. */
  async *rows(epoch: number): AsyncGenerator<R> {
    yield* this.source(epoch);
  }

  /** Another order for `shuffle` the next time that rows are gone through: one for each epoch. */
  set_epoch(epoch: number): void {
    checkNumber('set_epoch', 'epoch', epoch, { integer: true, min: 0 }, 'It is how often the rows were gone through.');
    this.epoch = epoch;
  }

  private through<T extends object>(step: (rows: AsyncIterable<R> | Iterable<R>, epoch: number) => AsyncIterable<T>): IterableDataset<T> {
    return new IterableDataset((epoch) => step(this.source(epoch), epoch));
  }
  private each<T extends object>(f: (row: R, i: number) => T): IterableDataset<T> {
    return this.through(async function* (rows) {
      let i = 0;
      for await (const row of rows) yield f(row, i++);
    });
  }

  /** As Dataset's; `f` may be async, and is called when the row is asked for. */
  map<T extends object, Gone extends ColumnOf<R> = never>(
    f: (batch: Columns<R>, indices: number[]) => Columns<T> | Promise<Columns<T>>,
    options: Partial<MapOptions<Gone>> & { batched: true } & Record<string, unknown>,
  ): IterableDataset<Merged<R, T, Gone>>;
  map<T extends object, Gone extends ColumnOf<R> = never>(
    f: (row: R, i: number) => T | null | undefined | Promise<T>,
    options?: Partial<MapOptions<Gone>> & { batched?: false } & Record<string, unknown>,
  ): IterableDataset<Merged<R, T, Gone>>;
  map(f: (row: never, i: never) => unknown, options?: object): IterableDataset<object> {
    const { batched, batch_size, remove_columns } = mapOptions(options);
    const gone = namesOf(remove_columns);
    if (!batched)
      return this.through<object>(async function* (rows) {
        let i = 0;
        for await (const row of rows) {
          yield mergedRow(row, await f(row as never, i as never), i, gone);
          i++;
        }
      });
    return this.through<object>(async function* (rows) {
      let from = 0;
      for await (const batch of batches(rows, batch_size ?? Number.POSITIVE_INFINITY)) {
        const made = await f(columnsOf(batch) as never, batch.map((_, i) => from + i) as never);
        yield* mergedBatch(batch, made, from, gone);
        from += batch.length;
      }
    });
  }
  /** The rows for which `f` is true. */
  filter<T extends R>(f: (row: R, i: number) => row is T, options?: Record<string, unknown>): IterableDataset<T>;
  filter(f: (row: R, i: number) => boolean | Promise<boolean>, options?: Record<string, unknown>): IterableDataset<R>;
  filter(f: (row: R, i: number) => boolean | Promise<boolean>, options?: Record<string, unknown>): IterableDataset<R> {
    filterOptions(options);
    return this.through(async function* (rows) {
      let i = 0;
      for await (const row of rows) if (await f(row, i++)) yield row;
    });
  }
  /** Nearly any order: each row is drawn from `buffer_size` that are kept. Another for each epoch (`set_epoch`). */
  shuffle({ seed = 42, buffer_size = 1000 }: { seed?: number; buffer_size?: number } = {}): IterableDataset<R> {
    checkNumber('shuffle', 'buffer_size', buffer_size, { integer: true, min: 1 }, 'It is the number of rows that are kept to draw from.');
    return this.through(async function* (rows, epoch) {
      const random = Random.seeded(seed, epoch);
      const kept: R[] = [];
      for await (const row of rows) {
        if (kept.length < buffer_size) kept.push(row);
        else {
          const i = random.below(buffer_size);
          yield kept[i];
          kept[i] = row;
        }
      }
      yield* random.shuffled(kept);
    });
  }
  /** The first n rows; no more are read. */
  take(n: number): IterableDataset<R> {
    return this.through(async function* (rows) {
      let left = n;
      if (left > 0)
        for await (const row of rows) {
          yield row;
          if (--left <= 0) return;
        }
    });
  }
  /** All rows but the first n. */
  skip(n: number): IterableDataset<R> {
    return this.through(async function* (rows) {
      let i = 0;
      for await (const row of rows) if (i++ >= n) yield row;
    });
  }
  /** The rows again and again: so often, or without end (null). Of a stream without rows that is none. */
  repeat(n: number | null = null): IterableDataset<R> {
    if (n !== null) checkNumber('repeat', 'n', n, { integer: true, min: 0 }, 'It is how often the rows come; null: without end.');
    const { source } = this;
    return new IterableDataset(async function* (epoch) {
      for (let time = 0; n === null || time < n; time++) {
        let some = false;
        for await (const row of source(epoch + time)) {
          some = true;
          yield row;
        }
        if (!some) return;
      }
    });
  }
  /** Rows in batches, as columns of values. */
  batch({ batch_size, drop_last_batch = false }: { batch_size: number; drop_last_batch?: boolean }): IterableDataset<Columns<R>> {
    checkNumber('batch', 'batch_size', batch_size, { integer: true, min: 1 }, 'It is the number of rows in a batch.');
    return this.through(async function* (rows) {
      for await (const batch of batches(rows, batch_size))
        if (batch.length === batch_size || !drop_last_batch) yield columnsOf(batch) as Columns<R>;
    });
  }

  /** The rows with these columns alone. */
  select_columns<K extends ColumnOf<R>>(column_names: K | K[]): IterableDataset<string extends K ? Row : Pick<R, K & keyof R>> {
    return this.each((row) => only(row, namesOf(column_names))) as never;
  }
  /** The rows without these columns. */
  remove_columns<K extends ColumnOf<R>>(column_names: K | K[]): IterableDataset<string extends K ? Row : Omit<R, K>> {
    return this.each((row) => without(row, namesOf(column_names))) as never;
  }
  /** The rows with a column under another name. */
  rename_column<K extends ColumnOf<R>, N extends string>(
    from: K,
    to: N,
  ): IterableDataset<string extends K ? Row : Omit<R, K> & Record<N, R[K & keyof R]>> {
    return this.each((row, i) => {
      if (!i) checkColumns('rename_column', [from], columnNames([row]));
      return renamed(row, { [from]: to });
    }) as never;
  }

  /** The first n rows, as a list. */
  async head(n = 5): Promise<R[]> {
    const rows: R[] = [];
    for await (const row of this.take(n)) rows.push(row);
    return rows;
  }

  /** As Hugging Face's datasets print it: what columns there are is not known before rows are read. */
  [inspect.custom](): string {
    return 'IterableDataset({\n    features: Unknown,\n    num_shards: 1\n})';
  }
}

/** Rows in lists of so many; the last may be shorter. */
async function* batches<R>(rows: AsyncIterable<R> | Iterable<R>, size: number): AsyncGenerator<R[]> {
  let batch: R[] = [];
  for await (const row of rows) {
    batch.push(row);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length) yield batch;
}

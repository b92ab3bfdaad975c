import { DataError, OptionError } from '../core/errors';
import { checkNumber, checkOneOf, readOptions, show } from '../core/options';
import { Random } from '../core/random';
import { Dataset } from './dataset';
import { IterableDataset } from './iterable_dataset';

type Many<R extends object> = readonly Dataset<R>[] | readonly IterableDataset<R>[];
const STRATEGIES = ['first_exhausted', 'all_exhausted', 'all_exhausted_without_replacement'] as const;

/** Options of `interleave_datasets`. */
export interface InterleaveOptions {
  /** How often each data set is drawn from, as shares or weights; null: one row of each in turn. Default: null. */
  probabilities: readonly number[] | null;
  /** Draws the data set that each row comes from. Default: 42. */
  seed: number;
  /** When it ends: where the first data set has no more rows, or where each was gone through at least once (again from its beginning meanwhile, or not). Default: 'first_exhausted'. */
  stopping_strategy: (typeof STRATEGIES)[number];
}
const DEFAULTS: InterleaveOptions = { probabilities: null, seed: 42, stopping_strategy: 'first_exhausted' };

/** Fails unless all are data sets, or all streams. */
function check(owner: string, datasets: Many<object>): void {
  if (!Array.isArray(datasets) || !datasets.length)
    throw new OptionError(`${owner} takes a list of data sets, but got ${Array.isArray(datasets) ? 'an empty one' : show(datasets)}.`);
  const wrong = datasets.findIndex((one) => !(one instanceof Dataset || one instanceof IterableDataset));
  if (wrong >= 0)
    throw new OptionError(
      `${owner}: entry ${wrong} is no data set but ${typeof datasets[wrong] === 'object' ? 'an object; of splits by name take one: data.train' : show(datasets[wrong])}.`,
    );
  const streams = datasets.filter((one) => one instanceof IterableDataset).length;
  if (streams && streams < datasets.length)
    throw new OptionError(
      `${owner}: ${streams} of ${datasets.length} data sets are streams. Make streams of the others too: dataset.to_iterable_dataset().`,
    );
}

/** All rows of one data set after those of the other. */
export function concatenate_datasets<R extends object>(datasets: readonly Dataset<R>[]): Dataset<R>;
export function concatenate_datasets<R extends object>(datasets: readonly IterableDataset<R>[]): IterableDataset<R>;
export function concatenate_datasets<R extends object>(datasets: Many<R>): Dataset<R> | IterableDataset<R> {
  check('concatenate_datasets', datasets);
  if (datasets[0] instanceof Dataset) return new Dataset((datasets as Dataset<R>[]).flatMap((one) => one.to_list()));
  return new IterableDataset(async function* (epoch) {
    for (const one of datasets as IterableDataset<R>[]) yield* one.rows(epoch);
  });
}

/** Which source each row is taken from. Told of a source that it has no more, it says whether that is the end. */
class Mixture {
  private readonly over: boolean[];
  private readonly random: Random;
  private readonly bounds?: number[];
  private turn = -1;

  constructor(
    private readonly sources: number,
    private readonly options: InterleaveOptions,
    epoch = 0,
  ) {
    const { probabilities: p, seed } = options;
    this.random = Random.seeded(seed, epoch);
    const total = p?.reduce((sum, one) => sum + one, 0) ?? 1;
    let sum = 0;
    this.bounds = p?.map((one) => (sum += one / total));
    // One that is never drawn from never ends.
    const all = options.stopping_strategy !== 'first_exhausted';
    this.over = Array.from({ length: sources }, (_, i) => all && p?.[i] === 0);
  }

  get ended(): boolean {
    return this.options.stopping_strategy === 'first_exhausted' ? this.over.some(Boolean) : this.over.every(Boolean);
  }
  exhausted(source: number): void {
    this.over[source] = true;
  }

  next(): number {
    for (;;) {
      const source = this.draw();
      if (!(this.options.stopping_strategy === 'all_exhausted_without_replacement' && this.over[source])) return source;
    }
  }
  private draw(): number {
    if (!this.bounds) {
      this.turn = (this.turn + 1) % this.sources;
      return this.turn;
    }
    const at = this.random.uniform();
    const found = this.bounds.findIndex((bound) => at < bound);
    return found < 0 ? this.bounds.length - 1 : found;
  }
}

function interleaved<R extends object>(datasets: readonly Dataset<R>[], options: InterleaveOptions): Dataset<R> {
  const empty = datasets.findIndex((one) => !one.length);
  if (empty >= 0) throw new DataError(`interleave_datasets: data set ${empty} has no rows. Leave it out.`);
  const { probabilities, stopping_strategy: strategy } = options;
  const rows: R[] = [];
  // In turn, rounds are whole, as in Python.
  if (!probabilities && strategy !== 'all_exhausted_without_replacement') {
    const lengths = datasets.map((one) => one.length);
    const rounds = strategy === 'first_exhausted' ? Math.min(...lengths) : Math.max(...lengths);
    for (let i = 0; i < rounds; i++) for (const one of datasets) rows.push(one.at(i % one.length));
    return new Dataset(rows);
  }
  const mixture = new Mixture(datasets.length, options);
  const at = datasets.map(() => 0);
  while (!mixture.ended) {
    const source = mixture.next();
    rows.push(datasets[source].at(at[source]++));
    if (at[source] < datasets[source].length) continue;
    mixture.exhausted(source);
    at[source] = 0;
  }
  return new Dataset(rows);
}

async function* mixed<R extends object>(
  datasets: readonly IterableDataset<R>[],
  options: InterleaveOptions,
  epoch: number,
): AsyncGenerator<R> {
  const mixture = new Mixture(datasets.length, options, epoch);
  const begin = (i: number) => datasets[i].rows(epoch)[Symbol.asyncIterator]();
  const open = datasets.map((_, i) => ({ rows: begin(i), next: undefined as Promise<IteratorResult<R>> | undefined }));
  try {
    while (!mixture.ended) {
      const source = mixture.next();
      const one = open[source];
      const { value, done } = await (one.next ?? one.rows.next());
      if (done) throw new DataError(`interleave_datasets: stream ${source} has no rows. Leave it out.`);
      yield value;
      one.next = one.rows.next();
      if (!(await one.next).done) continue;
      mixture.exhausted(source);
      Object.assign(one, { rows: begin(source), next: undefined });
    }
  } finally {
    for (const { rows } of open) await rows.return?.(undefined);
  }
}

/**
 * A mixture of data sets: one row of each in turn, or drawn by `probabilities` ([0.7, 0.3]). All in memory, or all streams. As Hugging Face's,
 * with draws of its own.
 */
export function interleave_datasets<R extends object>(
  datasets: readonly Dataset<R>[],
  options?: Partial<InterleaveOptions> & Record<string, unknown>,
): Dataset<R>;
export function interleave_datasets<R extends object>(
  datasets: readonly IterableDataset<R>[],
  options?: Partial<InterleaveOptions> & Record<string, unknown>,
): IterableDataset<R>;
export function interleave_datasets<R extends object>(datasets: Many<R>, given: object = {}): Dataset<R> | IterableDataset<R> {
  const owner = 'interleave_datasets';
  check(owner, datasets);
  const options = readOptions(owner, given, DEFAULTS);
  const { probabilities: p, stopping_strategy } = options;
  checkOneOf(owner, 'stopping_strategy', stopping_strategy, STRATEGIES);
  if (p !== null) {
    if (!Array.isArray(p) || p.length !== datasets.length)
      throw new OptionError(
        `${owner}: probabilities must be a list with a number for each of ${datasets.length} data sets, but is ${show(p)}.`,
      );
    for (const one of p) checkNumber(owner, 'probabilities', one, { min: 0 }, 'They are shares, or weights.');
    if (!p.some((one) => one > 0)) throw new OptionError(`${owner}: probabilities are all 0.`);
  }
  if (datasets[0] instanceof Dataset) return interleaved(datasets as Dataset<R>[], options);
  return new IterableDataset((epoch) => mixed(datasets as IterableDataset<R>[], options, epoch));
}

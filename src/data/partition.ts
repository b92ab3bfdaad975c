import { DataError, OptionError } from '../core/errors';
import { checkNumber, readOptions, show } from '../core/options';
import { Random } from '../core/random';

/** Options of `train_test_split`. */
export interface SplitOptions<C extends string = string> {
  /** Rows to test with: a share below 1, or a number; null: those that train_size leaves, or a quarter. Default: null. */
  test_size: number | null;
  /** Rows to train with: a share below 1, or a number; null: those that test_size leaves. Default: null. */
  train_size: number | null;
  /** Whether rows are drawn at random; without, the first are trained with, and those after them tested. Default: true. */
  shuffle: boolean;
  /** Draws the rows. Default: 42. */
  seed: number;
  /** A column (a label, say) whose values both parts have in the same shares; null: none. Default: null. */
  stratify_by_column: C | null;
}
const DEFAULTS: SplitOptions = { test_size: null, train_size: null, shuffle: true, seed: 42, stratify_by_column: null };

function sizes(rows: number, { test_size, train_size }: SplitOptions): { test: number; train: number } {
  const remedy = `Give a share below 1, or a number of rows below ${rows}.`;
  for (const [name, size] of Object.entries({ test_size, train_size }))
    if (size !== null) checkNumber('train_test_split', name, size, { above: 0, below: rows }, remedy);
  const count = (size: number, round: (n: number) => number) => (size < 1 ? round(rows * size) : Math.floor(size));
  const given = test_size ?? (train_size === null ? 0.25 : null);
  const train = train_size === null ? undefined : count(train_size, Math.floor);
  const test = given === null ? rows - (train as number) : count(given, Math.ceil);
  const split = { test, train: train ?? rows - test };
  if (split.test + split.train > rows || split.train < 1 || split.test < 1)
    throw new OptionError(
      `train_test_split: of ${rows} rows ${split.train} to train with and ${split.test} to test with cannot be taken (train_size = ${show(train_size)}, test_size = ${show(test_size)}). ${remedy}`,
    );
  return split;
}

/** How many of `draws` fall to each of some groups: their shares, what is left to the largest remainders, at random among equals. */
function shares(counts: number[], draws: number, random: Random): number[] {
  const total = counts.reduce((sum, n) => sum + n, 0);
  const exact = counts.map((n) => (draws * n) / total);
  const taken = exact.map(Math.floor);
  const order = random.shuffled(counts.map((_, i) => i)).sort((a, b) => exact[b] - taken[b] - (exact[a] - taken[a]));
  for (const i of order.slice(0, draws - taken.reduce((sum, n) => sum + n, 0))) taken[i]++;
  return taken;
}

function stratified(values: unknown[], { train, test }: { train: number; test: number }, column: string, random: Random) {
  const groups = new Map<unknown, number[]>();
  for (const [i, value] of values.entries()) {
    const key = typeof value === 'object' ? JSON.stringify(value) : value;
    const group = groups.get(key);
    if (group) group.push(i);
    else groups.set(key, [i]);
  }
  const lone = [...groups].find(([, rows]) => rows.length < 2);
  const owner = `train_test_split: stratify_by_column = ${show(column)}`;
  if (lone)
    throw new DataError(
      `${owner}: ${show(lone[0])} stands in one row alone, and both parts need one. Leave such rows out (filter), or another column.`,
    );
  if (Math.min(train, test) < groups.size)
    throw new OptionError(
      `${owner} has ${groups.size} different values, and ${Math.min(train, test)} rows have no room for one of each. Give both parts more.`,
    );
  const rows = [...groups.values()].map((group) => random.shuffled(group));
  const counts = rows.map((group) => group.length);
  const trained = shares(counts, train, random);
  const tested = shares(
    counts.map((n, i) => n - trained[i]),
    test,
    random,
  );
  return {
    train: random.shuffled(rows.flatMap((group, i) => group.slice(0, trained[i]))),
    test: random.shuffled(rows.flatMap((group, i) => group.slice(trained[i], trained[i] + tested[i]))),
  };
}

/** Which rows are trained with and which tested, as scikit-learn and Hugging Face's datasets count them. `valuesOf`: a column's values. */
export function partition(rows: number, valuesOf: (column: string) => unknown[], given: object): { train: number[]; test: number[] } {
  const options = readOptions('train_test_split', given, DEFAULTS);
  const size = sizes(rows, options);
  const random = Random.seeded(options.seed);
  if (options.stratify_by_column !== null) {
    if (!options.shuffle) throw new OptionError('train_test_split: stratify_by_column draws rows at random; leave shuffle: true.');
    return stratified(valuesOf(options.stratify_by_column), size, options.stratify_by_column, random);
  }
  const all = Array.from({ length: rows }, (_, i) => i);
  if (!options.shuffle) return { train: all.slice(0, size.train), test: all.slice(size.train, size.train + size.test) };
  const order = random.shuffled(all);
  return { test: order.slice(0, size.test), train: order.slice(size.test, size.test + size.train) };
}

// What datasets' methods make of rows, against Hugging Face's datasets.
import { beforeAll, expect, it } from 'vitest';
import { concatenate_datasets, Dataset, interleave_datasets } from '../../src/index';
import { peer } from '../peer';

const rows = [5, 3, 8, 1, 9, 2, 7, 4, 6, 0].map((n, i) => ({ n, label: i % 3 ? 'b' : 'a' }));
const set = Dataset.from_list(rows);
const lengths = [3, 4, 5];
const strategies = ['first_exhausted', 'all_exhausted', 'all_exhausted_without_replacement'] as const;
const splits = [{ test_size: 0.4 }, { test_size: 5, train_size: 3 }, { train_size: 0.5 }];
const sizes = [{}, { test_size: 0.25 }, { test_size: 3 }, { train_size: 0.33 }, { train_size: 2, test_size: 0.31 }];
const gaps = [3, null, 'nan', 1, null, 2, 'nan', 1].map((n, i) => ({ n, i, s: ['b', 'a', null, 'c', null, 'a', 'b', null][i] }));
const sorts = (['n', 's', ['s', 'n'], ['n', 's']] as const).flatMap((names) =>
  [false, true, ...(typeof names === 'string' ? [] : [[true, false]])].flatMap((reverse) =>
    ([undefined, 'at_end', 'at_start', 'first', 'last'] as const).map(
      (null_placement) => [[names].flat(), { reverse, ...(null_placement && { null_placement }) }] as const,
    ),
  ),
);
let python: {
  sorts: number[][];
  rows: Record<string, object[]>;
  stratified: number[][][];
  sizes: number[][];
  first: number[];
  mixed: string[][];
  streamed: string[][];
};
beforeAll(() => {
  python = peer('methods', { rows, labels: ['a', 'b'], lengths, strategies, splits, sizes, gaps, sorts }, 'peer_data.py');
}, 120_000);

const MADE: Record<string, () => Dataset<object>> = {
  merged: () => set.map((row) => ({ n: row.n + 1, text: `${row.label}!` })),
  removed: () => set.map((row) => ({ n: 1 - row.n }), { remove_columns: ['n', 'label'] }),
  none: () => set.map(() => undefined),
  batched: () => set.map((batch) => ({ n: batch.n.map((x) => x * 10) }), { batched: true, batch_size: 3 }),
  doubled: () => set.map(({ n }) => ({ n: n.flatMap((x) => [x, x]) }), { batched: true, remove_columns: ['n', 'label'] }),
  sorted: () => set.sort('n'),
  descending: () => set.sort(['label', 'n'], { reverse: [false, true] }),
  renamed: () => set.rename_column('n', 'number'),
  only: () => set.select_columns('label'),
  shard: () => set.shard({ num_shards: 3, index: 1 }),
  striped: () => set.shard({ num_shards: 3, index: 1, contiguous: false }),
  joined: () => concatenate_datasets([set.take(2), set.skip(5)]),
};

it.each(Object.entries(MADE))('%s', (name, make) => {
  expect(make().to_list()).toEqual(python.rows[name]);
});

it('rows without a value come last when they are sorted, ascending or not, or first where that is asked for', () => {
  const set = Dataset.from_list(gaps.map((row) => ({ ...row, n: row.n === 'nan' ? Number.NaN : row.n })));
  for (const [i, [names, options]] of sorts.entries())
    expect(set.sort([...names], options).to_dict().i, JSON.stringify(sorts[i])).toEqual(python.sorts[i]);
  for (const [options, message] of [
    [{ reverse: [true] }, /reverse must be true or false, or a list of such with one for each of 2 columns/],
    [{ null_placement: 'end' }, /null_placement is 'end'|null_placement/],
    [{ descending: true }, /sort has no option descending/],
  ] as const)
    expect(() => set.sort(['n', 's'], options as never)).toThrow(message);
});

it('parts have the sizes, and strata the shares, that Python gives them', () => {
  const labels = (part: Dataset<{ label: string }>) => ['a', 'b'].map((label) => part.filter((row) => row.label === label).length);
  for (const [i, options] of splits.entries()) {
    const { train, test } = set.train_test_split({ ...options, stratify_by_column: 'label', seed: 1 });
    expect([labels(train), labels(test)], JSON.stringify(options)).toEqual(python.stratified[i]);
  }
  for (const [i, options] of sizes.entries()) {
    const { train, test } = set.train_test_split({ ...options, seed: 1 });
    expect([train.length, test.length], JSON.stringify(options)).toEqual(python.sizes[i]);
  }
  expect(set.train_test_split({ test_size: 0.3, shuffle: false }).test.to_dict().n).toEqual(python.first);
});

it('rows of several sets in turn, in memory and as streams', async () => {
  const three = lengths.map((n, i) => Dataset.from_list(Array.from({ length: n }, (_, k) => ({ x: `${'abc'[i]}${k}` }))));
  for (const [i, stopping_strategy] of strategies.entries()) {
    expect(interleave_datasets(three, { stopping_strategy }).to_dict().x, stopping_strategy).toEqual(python.mixed[i]);
    const streams = three.map((one) => one.to_iterable_dataset());
    const streamed: string[] = [];
    for await (const { x } of interleave_datasets(streams, { stopping_strategy })) streamed.push(x);
    expect(streamed, stopping_strategy).toEqual(python.streamed[i]);
  }
});

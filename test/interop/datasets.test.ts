// The labelled data sets that are made out of packages at set-up.
import { describe, expect, it } from 'vitest';
import { load_dataset } from '../../src/index';

type Labelled = { text: string; label: number };
const SIZES: Record<string, [train: number, validation: number, test: number]> = {
  'film-sentiment': [8500, 500, 1000],
  'shop-sentiment': [2150, 250, 499],
  'spam-assassin': [4900, 250, 500],
};

/** Runs of five words, the letters alone. */
function runs(text: string): Set<string> {
  const words = text.toLowerCase().match(/[a-z]+/g) ?? [];
  return new Set(words.slice(4).map((_, i) => words.slice(i, i + 5).join(' ')));
}

describe.each(Object.entries(SIZES))('%s', (name, [train, ...small]) => {
  it('has the rows that are expected, labels in the same shares, none empty', async () => {
    const splits = (await load_dataset(name)) as unknown as Record<string, Iterable<Labelled> & { length: number }>;
    expect(Object.keys(splits).sort()).toEqual(['test', 'train', 'validation']);
    expect(splits.train.length).toBeGreaterThanOrEqual(train);
    expect([splits.validation.length, splits.test.length]).toEqual(small);
    const share = (rows: Iterable<Labelled>) => [...rows].reduce((sum, { label }) => sum + label, 0) / [...rows].length;
    for (const rows of Object.values(splits)) {
      expect(Math.abs(share(rows) - share(splits.train))).toBeLessThan(0.02);
      for (const { text, label } of rows) {
        expect([0, 1]).toContain(label);
        expect(text.trim().length).toBeGreaterThan(2);
      }
    }
  });

  it('nothing of the test rows is nearly a row of training or a test row of its own', async () => {
    const { train, test } = (await load_dataset(name)) as unknown as Record<string, Iterable<Labelled>>;
    const where = new Map<string, number[]>();
    const known = [...train, ...test].map(({ text }) => runs(text));
    for (const [i, set] of known.entries()) for (const run of set) where.set(run, [...(where.get(run) ?? []).slice(-100), i]);
    const from = [...train].length;
    const near = [...test].filter((_, k) => {
      const set = known[from + k];
      const common = new Map<number, number>();
      for (const run of set) for (const i of where.get(run) ?? []) if (i !== from + k) common.set(i, (common.get(i) ?? 0) + 1);
      return [...common].some(([i, n]) => set.size >= 8 && n / (set.size + known[i].size - n) > 0.7);
    });
    expect(near.map(({ text }) => text.slice(0, 80))).toEqual([]);
  });
});

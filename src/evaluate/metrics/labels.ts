import { DataError, OptionError } from '../../core/errors';
import { warnOnce } from '../../core/events';
import { show } from '../../core/options';
import { type Column, numbers, oneOf } from './metric';

/** A class: labels of different types are different. */
export type Label = string | number | boolean;

export const AVERAGES = ['binary', 'micro', 'macro', 'weighted', null] as const;
export type Average = (typeof AVERAGES)[number];

/** The labels that occur, sorted as scikit-learn sorts them: numbers by size, texts by their characters. */
export function labelsOf(...columns: Column[]): Label[] {
  const all = new Set<unknown>();
  for (const column of columns) for (const label of column) all.add(label);
  const types = new Set([...all].map((label) => typeof label));
  const [type] = types;
  if (types.size > 1 || !['string', 'number', 'boolean'].includes(type))
    throw new DataError(
      `Labels must be all numbers, all texts or all booleans, but there are ${[...all].slice(0, 4).map(show).join(', ')}. ` +
        'Write predictions and references in the same way.',
    );
  const labels = [...all] as Label[];
  return typeof labels[0] === 'string' ? labels.sort((a, b) => (a < b ? -1 : 1)) : labels.sort((a, b) => Number(a) - Number(b));
}

/** Of each label: rows where it was predicted rightly, predicted at all, and true. Weighted by row. */
export interface Counts {
  labels: Label[];
  right: number[];
  predicted: number[];
  true: number[];
}

export function countLabels(predictions: Column, references: Column, labels: Label[], weights?: Column): Counts {
  const index = new Map(labels.map((label, i) => [label as unknown, i]));
  const zeros = () => labels.map(() => 0);
  const counts = { labels, right: zeros(), predicted: zeros(), true: zeros() };
  const weight = weights && numbers(weights, 'Weights');
  references.forEach((reference, row) => {
    const [p, t, w] = [index.get(predictions[row]), index.get(reference), weight ? weight[row] : 1];
    if (p !== undefined) counts.predicted[p] += w;
    if (t !== undefined) counts.true[t] += w;
    if (p !== undefined && p === t) counts.right[p] += w;
  });
  return counts;
}

export type ZeroDivision = 'warn' | 0 | 1 | number;

/** numerator / denominator, where a denominator of 0 is worth `zero_division`. */
function share(numerator: number[], denominator: number[], zero: ZeroDivision, what: string): number[] {
  const value = zero === 'warn' ? 0 : zero;
  if (zero === 'warn' && denominator.includes(0))
    warnOnce(
      `${what} of a label that was never ${what === 'precision' ? 'predicted' : 'true'} is undefined and counted as 0: set zero_division to choose.`,
    );
  return numerator.map((n, i) => (denominator[i] ? n / denominator[i] : value));
}

/** Precision, recall and F1 of each label, from its counts. */
export function scoresOf(counts: Counts, zero: ZeroDivision): { precision: number[]; recall: number[]; f1: number[] } {
  const both = counts.predicted.map((n, i) => n + counts.true[i]);
  return {
    precision: share(counts.right, counts.predicted, zero, 'precision'),
    recall: share(counts.right, counts.true, zero, 'recall'),
    f1: share(
      counts.right.map((n) => 2 * n),
      both,
      zero,
      'F1',
    ),
  };
}

const total = (values: number[]) => values.reduce((sum, value) => sum + value, 0);

/** All labels as one. */
export const pooled = (counts: Counts): Counts => ({
  labels: [],
  right: [total(counts.right)],
  predicted: [total(counts.predicted)],
  true: [total(counts.true)],
});

/** The mean of a score over labels; values that are not defined (zero_division: NaN) are left out. */
export function meanOver(values: number[], weights: number[], zero: ZeroDivision): number {
  const defined = values.map((value, i) => [value, weights[i]]).filter(([value]) => !Number.isNaN(value));
  const sum = total(defined.map(([, weight]) => weight));
  if (!sum) return defined.length ? (zero === 'warn' ? 0 : zero) : Number.NaN;
  return total(defined.map(([value, weight]) => value * weight)) / sum;
}

export const AVERAGE_OPTIONS = {
  labels: null as Label[] | null,
  pos_label: 1 as Label,
  average: 'binary' as Average,
  zero_division: 'warn' as ZeroDivision,
};

/** One of the three scores over all labels, as scikit-learn averages it; of `average: null`, of each label. */
export function averaged(
  score: 'precision' | 'recall' | 'f1',
  columns: Record<string, Column>,
  { labels, pos_label, average, zero_division: zero }: typeof AVERAGE_OPTIONS,
): number | number[] {
  oneOf('average', average, AVERAGES);
  if (zero !== 'warn' && typeof zero !== 'number')
    throw new OptionError(`zero_division must be 'warn', 0, 1 or NaN, but is ${show(zero)}.`);
  const { predictions, references, sample_weight } = columns;
  const present = labelsOf(predictions, references);
  if (average === 'binary') checkBinary(present, pos_label);
  const chosen = average === 'binary' ? [pos_label] : (labels ?? present);
  const counts = countLabels(predictions, references, chosen, sample_weight);
  const values = scoresOf(average === 'micro' ? pooled(counts) : counts, zero)[score];
  if (average === null) return values;
  if (average === 'binary' || average === 'micro') return values[0];
  return meanOver(values, average === 'macro' ? values.map(() => 1) : counts.true, zero);
}

function checkBinary(present: Label[], positive: Label) {
  if (present.length > 2)
    throw new OptionError(
      `There are ${present.length} labels (${present.slice(0, 5).map(show).join(', ')}${present.length > 5 ? ', …' : ''}), but average is 'binary'. ` +
        "Set average to 'macro' (each label counts the same), 'weighted' (each row does), 'micro', or null for each label's.",
    );
  // scikit-learn lets a single label pass that is not the positive one: there is none of the positive then.
  if (!present.includes(positive) && (present.length === 2 || typeof present[0] === 'string'))
    throw new OptionError(
      `pos_label is ${show(positive)}, but the labels are ${present.map(show).join(', ')}. Set pos_label to the label that is sought.`,
    );
}

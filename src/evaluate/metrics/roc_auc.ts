import { DataError, OptionError } from '../../core/errors';
import { show } from '../../core/options';
import { type Label, labelsOf } from './labels';
import { type Column, metric, numbers, oneOf } from './metric';

/** The area under the ROC curve: how probable it is that a positive row is scored above a negative one; ties count half. Weighted by row. */
export function area(positive: readonly boolean[], scores: readonly number[], weights: readonly number[]): number {
  const order = scores.map((_, i) => i).sort((a, b) => scores[a] - scores[b]);
  let [below, sum, positives] = [0, 0, 0];
  for (let i = 0; i < order.length; ) {
    let [up, down] = [0, 0];
    const score = scores[order[i]];
    for (; i < order.length && scores[order[i]] === score; i++)
      if (positive[order[i]]) up += weights[order[i]];
      else down += weights[order[i]];
    sum += up * (below + down / 2);
    below += down;
    positives += up;
  }
  return sum / (positives * below);
}

function several(
  labels: Label[],
  references: Column,
  rows: number[][],
  weights: number[],
  multi_class: 'ovr' | 'ovo',
  average: string | null,
) {
  const kind = oneOf(
    `average, with multi_class '${multi_class}',`,
    average,
    multi_class === 'ovr' ? ['macro', 'weighted', 'micro', null] : ['macro', 'weighted'],
  );
  const is = (label: Label) => references.map((reference) => reference === label);
  const share = (label: Label) => references.reduce<number>((sum, reference, i) => sum + (reference === label ? weights[i] : 0), 0);
  const mean = (values: number[], by: number[]) =>
    values.reduce((sum, value, i) => sum + value * by[i], 0) / by.reduce((sum, value) => sum + value, 0);
  if (multi_class === 'ovr') {
    if (kind === 'micro') {
      const flat = <T>(of: (row: number, k: number) => T) => references.flatMap((_, row) => labels.map((_, k) => of(row, k)));
      return area(
        flat((row, k) => references[row] === labels[k]),
        flat((row, k) => rows[row][k]),
        flat((row) => weights[row]),
      );
    }
    const each = labels.map((label, k) =>
      area(
        is(label),
        rows.map((row) => row[k]),
        weights,
      ),
    );
    return kind === null
      ? each
      : mean(
          each,
          labels.map((label) => (kind === 'macro' ? 1 : share(label))),
        );
  }
  const values: number[] = [];
  const by: number[] = [];
  labels.forEach((a, i) => {
    for (let j = i + 1; j < labels.length; j++) {
      const both = references.map((_, row) => row).filter((row) => references[row] === a || references[row] === labels[j]);
      const one = (label: Label, k: number) =>
        area(
          both.map((row) => references[row] === label),
          both.map((row) => rows[row][k]),
          both.map(() => 1),
        );
      values.push((one(a, i) + one(labels[j], j)) / 2);
      by.push(kind === 'macro' ? 1 : both.length);
    }
  });
  return mean(values, by);
}

/**
 * The area under the ROC curve, equal to scikit-learn's. `prediction_scores` are of each row the score of the greater label, or, of more
 * than two labels (`multi_class: 'ovr'` or 'ovo'), a list with the probability of each, in sorted order.
 */
export const roc_auc = metric({
  description: 'How probable it is that a row with the label is scored above one without it.',
  inputs: ['prediction_scores', 'references'],
  optional: ['sample_weight'],
  options: {
    average: 'macro' as 'macro' | 'weighted' | 'micro' | null,
    multi_class: 'raise' as 'raise' | 'ovr' | 'ovo',
    labels: null as Label[] | null,
  },
  compute({ prediction_scores, references, sample_weight }, { average, multi_class, labels: given }) {
    oneOf('multi_class', multi_class, ['raise', 'ovr', 'ovo']);
    const labels = given ?? labelsOf(references);
    const weights = sample_weight ? numbers(sample_weight, 'Weights') : references.map(() => 1);
    if (labelsOf(references).length < 2)
      throw new DataError(
        `Every row has the label ${show(labels[0])}: the area under the ROC curve needs rows with it and rows without it.`,
      );
    if (labels.length === 2 && !Array.isArray(prediction_scores[0])) {
      const scores = numbers(prediction_scores, 'prediction_scores');
      return {
        roc_auc: area(
          references.map((reference) => reference === labels[1]),
          scores,
          weights,
        ),
      };
    }
    if (multi_class === 'raise')
      throw new OptionError(
        `There are ${labels.length} labels or a list of scores for each row: set multi_class to 'ovr' (each label against the rest) or 'ovo' (each against each).`,
      );
    if (multi_class === 'ovo' && sample_weight)
      throw new OptionError("sample_weight cannot be used with multi_class 'ovo'. Leave it out, or set multi_class to 'ovr'.");
    const rows = prediction_scores.map((row, i) => {
      if (!Array.isArray(row) || row.length !== labels.length)
        throw new DataError(`prediction_scores of row ${i} must be ${labels.length} numbers, one for each label, but are ${show(row)}.`);
      const list = numbers(row, 'prediction_scores');
      const sum = list.reduce((total, p) => total + p, 0);
      if (Math.abs(sum - 1) > 1e-5)
        throw new DataError(
          `prediction_scores of row ${i} must be probabilities, but add up to ${sum.toPrecision(4)}. Give them through a softmax.`,
        );
      return list;
    });
    return { roc_auc: several(labels, references, rows, weights, multi_class, average) };
  },
});

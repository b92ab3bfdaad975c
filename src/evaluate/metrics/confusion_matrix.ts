import { type Label, labelsOf } from './labels';
import { type Column, metric, numbers, oneOf } from './metric';

/** Rows by their true label (down) and the predicted one (across), in the order of `labels`. */
export function confusion(references: Column, predictions: Column, labels: Label[], weights?: Column): number[][] {
  const index = new Map(labels.map((label, i) => [label as unknown, i]));
  const weight = weights && numbers(weights, 'Weights');
  const matrix = labels.map(() => labels.map(() => 0));
  references.forEach((reference, row) => {
    const [t, p] = [index.get(reference), index.get(predictions[row])];
    if (t !== undefined && p !== undefined) matrix[t][p] += weight ? weight[row] : 1;
  });
  return matrix;
}

/** How often each label was taken for each other; `normalize` by 'true' (rows), 'pred' (columns) or 'all'. Equal to scikit-learn's. */
export const confusion_matrix = metric({
  description: 'How often each label was taken for each other.',
  inputs: ['predictions', 'references'],
  optional: ['sample_weight'],
  options: { labels: null as Label[] | null, normalize: null as 'true' | 'pred' | 'all' | null },
  compute({ predictions, references, sample_weight }, { labels, normalize }) {
    oneOf('normalize', normalize, ['true', 'pred', 'all', null]);
    const matrix = confusion(references, predictions, labels ?? labelsOf(predictions, references), sample_weight);
    const down = matrix[0].map((_, p) => matrix.reduce((sum, row) => sum + row[p], 0));
    const across = matrix.map((row) => row.reduce((sum, n) => sum + n, 0));
    const all = across.reduce((sum, n) => sum + n, 0);
    const of = (t: number, p: number) => ({ true: across[t], pred: down[p], all })[normalize as 'true'];
    return { confusion_matrix: normalize ? matrix.map((row, t) => row.map((n, p) => (n ? n / of(t, p) : 0))) : matrix };
  },
});

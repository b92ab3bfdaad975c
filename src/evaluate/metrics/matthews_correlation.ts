import { confusion } from './confusion_matrix';
import { labelsOf } from './labels';
import { metric } from './metric';

/** The correlation of predicted and true labels, from -1 to 1; 0 is chance, also where one label is much the most frequent. Equal to scikit-learn's. */
export const matthews_correlation = metric({
  description: 'The correlation of predicted and true labels: 0 is chance, whatever the labels’ shares.',
  inputs: ['predictions', 'references'],
  optional: ['sample_weight'],
  options: {},
  compute({ predictions, references, sample_weight }) {
    const matrix = confusion(references, predictions, labelsOf(predictions, references), sample_weight);
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    const across = matrix.map(sum);
    const down = matrix.map((_, k) => sum(matrix.map((row) => row[k])));
    const rows = sum(across);
    const covariance = (a: number[], b: number[]) => sum(a.map((value, k) => value * b[k]));
    const both = sum(matrix.map((row, k) => row[k])) * rows - covariance(across, down);
    const spread = (rows * rows - covariance(down, down)) * (rows * rows - covariance(across, across));
    return { matthews_correlation: spread > 0 ? both / Math.sqrt(spread) : 0 };
  },
});

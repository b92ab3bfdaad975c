import { labelsOf } from './labels';
import { metric, numbers } from './metric';

/** The share of rows whose prediction is the reference; their number with `normalize: false`. */
export const accuracy = metric({
  description: 'The share of rows whose prediction is right.',
  inputs: ['predictions', 'references'],
  optional: ['sample_weight'],
  options: { normalize: true },
  compute({ predictions, references, sample_weight }, { normalize }) {
    labelsOf(predictions, references);
    const weights = sample_weight ? numbers(sample_weight, 'Weights') : predictions.map(() => 1);
    const sum = (of: (row: number) => number) => weights.reduce((total, _, row) => total + of(row), 0);
    const right = sum((row) => (predictions[row] === references[row] ? weights[row] : 0));
    return { accuracy: normalize ? right / sum((row) => weights[row]) : right };
  },
});

import { DataError, OptionError } from '../../core/errors';
import { checkNumber, show } from '../../core/options';
import { labelsOf } from './labels';
import { type Column, metric, numbers } from './metric';

function probabilities(column: Column): number[] {
  const values = numbers(column, 'prediction_scores');
  const odd = values.findIndex((p) => p < 0 || p > 1);
  if (odd >= 0) throw new DataError(`prediction_scores must be probabilities from 0 to 1, but that of row ${odd} is ${show(values[odd])}.`);
  return values;
}

/** 1 where the row has the greater of two labels. */
function outcomes(references: Column): number[] {
  const labels = labelsOf(references);
  if (labels.length > 2)
    throw new OptionError(`Calibration is of two labels, but there are ${labels.length}: look at one of them against the rest.`);
  const positive = labels.length === 2 ? labels[1] : 1;
  return references.map((reference) => Number(reference === positive || reference === true));
}

/** The mean squared distance of probability and outcome. Equal to scikit-learn's `brier_score_loss`. */
export const brier_score = metric({
  description: 'The mean squared distance of the probability that was given and what was true.',
  inputs: ['prediction_scores', 'references'],
  options: {},
  compute({ prediction_scores, references }) {
    const [scores, truth] = [probabilities(prediction_scores), outcomes(references)];
    return { brier_score: scores.reduce((sum, p, i) => sum + (p - truth[i]) ** 2, 0) / scores.length };
  },
});

/**
 * How far probabilities are from the shares that came true, in bins of equal width: the mean over rows (Guo et al. 2017,
 * https://arxiv.org/abs/1706.04599) and the greatest. `prob_true` and `prob_pred` are the points of the reliability curve,
 * equal to scikit-learn's `calibration_curve`.
 */
export const calibration_error = metric({
  description: 'How far the probabilities are from the shares that came true.',
  inputs: ['prediction_scores', 'references'],
  options: { n_bins: 10 },
  compute({ prediction_scores, references }, { n_bins }) {
    checkNumber("The metric 'calibration_error'", 'n_bins', n_bins, { integer: true, min: 1 }, '10 is usual.');
    const [scores, truth] = [probabilities(prediction_scores), outcomes(references)];
    // A probability on a border belongs to the bin below, as numpy's searchsorted has it.
    const bin = (p: number) => Math.max(0, Math.min(n_bins - 1, Math.ceil(p * n_bins) - 1));
    const bins = Array.from({ length: n_bins }, () => ({ rows: 0, predicted: 0, true: 0 }));
    scores.forEach((p, i) => {
      const its = bins[bin(p)];
      its.rows++;
      its.predicted += p;
      its.true += truth[i];
    });
    const full = bins.filter(({ rows }) => rows);
    const gap = ({ rows, predicted, true: was }: (typeof bins)[number]) => Math.abs(predicted - was) / rows;
    return {
      calibration_error: full.reduce((sum, its) => sum + its.rows * gap(its), 0) / scores.length,
      max_calibration_error: Math.max(...full.map(gap)),
      prob_true: full.map((its) => its.true / its.rows),
      prob_pred: full.map((its) => its.predicted / its.rows),
    };
  },
});

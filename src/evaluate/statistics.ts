import { DataError } from '../core/errors';
import { checkNumber } from '../core/options';
import { Random } from '../core/random';
import type { EvaluationModule } from './metrics';

export interface Interval {
  value: number;
  /** The bounds between which the value lies with `confidence`. */
  low: number;
  high: number;
}

/** Quantiles as numpy's 'linear' has them, of sorted values. */
function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

/**
 * A metric's numbers with intervals: rows are drawn again with replacement `n_resamples` times, and the interval holds the middle
 * `confidence` of what is measured (percentile bootstrap: Efron 1979). Options of the metric stand in `given` beside its inputs.
 * The same seed gives the same bounds. Resamples in which the metric is not defined (a single label for roc_auc) are left out.
 */
export function bootstrap(
  metric: EvaluationModule,
  given: Record<string, unknown>,
  { n_resamples = 1000, confidence = 0.95, seed = 42 }: { n_resamples?: number; confidence?: number; seed?: number } = {},
): Record<string, Interval> {
  checkNumber('bootstrap', 'n_resamples', n_resamples, { integer: true, min: 20 }, '1000 is usual.');
  checkNumber('bootstrap', 'confidence', confidence, { above: 0, below: 1 }, '0.95 is usual.');
  const whole = Object.entries(metric.compute(given)).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  const columns = Object.entries(given).filter(
    ([key, value]) => (metric.inputs.includes(key) || key === 'sample_weight') && Array.isArray(value),
  );
  const [, first] = columns[0];
  const rows = (first as unknown[]).length;
  const drawn = new Map(whole.map(([key]) => [key, [] as number[]]));
  const random = Random.seeded(seed);
  for (let i = 0; i < n_resamples; i++) {
    const which = Array.from({ length: rows }, () => random.below(rows));
    const sample = Object.fromEntries(columns.map(([key, column]) => [key, which.map((row) => (column as unknown[])[row])]));
    let values: Record<string, unknown>;
    try {
      values = metric.compute({ ...given, ...sample });
    } catch (error) {
      if (error instanceof DataError) continue;
      throw error;
    }
    for (const [key, list] of drawn) if (Number.isFinite(values[key])) list.push(values[key] as number);
  }
  return Object.fromEntries(
    whole.map(([key, value]) => {
      const sorted = (drawn.get(key) as number[]).sort((a, b) => a - b);
      const tail = (1 - confidence) / 2;
      return [key, { value, low: quantile(sorted, tail), high: quantile(sorted, 1 - tail) }];
    }),
  );
}

/** Logarithms of factorials, from 0 to n. */
function logFactorials(n: number): Float64Array {
  const logs = new Float64Array(n + 1);
  for (let i = 2; i <= n; i++) logs[i] = logs[i - 1] + Math.log(i);
  return logs;
}

export interface McNemar {
  /** Rows that only the first had right, and that only the second had. */
  only_before: number;
  only_after: number;
  /** How probable a difference as large is if both are equally good: the exact binomial test, two-sided. */
  p_value: number;
}

/** McNemar's test of two sets of answers to the same rows: `before` and `after` say of each row whether it was right. */
export function mcnemar(before: readonly boolean[], after: readonly boolean[]): McNemar {
  if (before.length !== after.length)
    throw new DataError(
      `McNemar's test compares answers to the same rows, but there are ${before.length} before and ${after.length} after.`,
    );
  const only_before = before.filter((right, i) => right && !after[i]).length;
  const only_after = after.filter((right, i) => right && !before[i]).length;
  const [few, all] = [Math.min(only_before, only_after), only_before + only_after];
  const logs = logFactorials(all);
  let tail = 0;
  for (let k = 0; k <= few; k++) tail += Math.exp(logs[all] - logs[k] - logs[all - k] - all * Math.LN2);
  return { only_before, only_after, p_value: Math.min(1, 2 * tail) };
}

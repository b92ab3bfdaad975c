import { OptionError } from '../core/errors';
import { turn } from '../core/interrupt';
import { show } from '../core/options';
import { take } from '../engine/backend';
import { withPrecision } from '../engine/precision';
import * as tf from '../engine/tf';
import type { TrainedModel } from './gradients';
import type { EvaluateOptions, Objective } from './objective';

/** Values of a row, in lists of lists by their axes; the last one is a typed array. */
export type Nested = number | Float32Array | readonly Nested[];

/** What compute_metrics gets of an evaluation, as in transformers: `({ predictions, label_ids }) => ...`, or taken apart as a list. */
export class EvalPrediction<P = Nested, L = number | number[]> {
  constructor(
    /** By row: logits [tokens, vocabulary] or [classes], or what preprocess_logits_for_metrics made of them; shorter rows filled up with -100. */
    readonly predictions: P[],
    /** By row: a class, or the labels of its tokens, -100 where none is learned. */
    readonly label_ids: L[],
  ) {}

  *[Symbol.iterator](): Generator<P[] | L[]> {
    yield this.predictions;
    yield this.label_ids;
  }
}

/** Figures by name of what a model said of the evaluation rows; 'eval_' is put before names without it. */
// biome-ignore lint/suspicious/noExplicitAny: what predictions are is for the function to say
export type ComputeMetrics = (given: EvalPrediction<any, any>) => Record<string, number> | Promise<Record<string, number>>;

/** Makes less of a row's logits before they are kept: [1, tokens, vocabulary] or [1, classes], labels int32 [1, tokens] or [1]. */
export type PreprocessLogits = (logits: tf.Tensor, labels: tf.Tensor) => tf.Tensor;

/** Values that may be kept for compute_metrics: 512 MiB. */
const MOST = 1 << 27;
/** What fills up rows, and stands where there is no label. */
const NONE = -100;

function nested(values: Float32Array, shape: readonly number[]): Nested {
  if (!shape.length) return values[0];
  if (shape.length === 1) return values;
  const size = values.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => nested(values.subarray(i * size, (i + 1) * size), shape.slice(1)));
}

/** A row's values filled up to `length` along its first axis. */
function filled(row: Nested, length: number): Nested {
  if (typeof row === 'number') return row;
  if (row instanceof Float32Array) {
    const whole = new Float32Array(length).fill(NONE);
    whole.set(row);
    return whole;
  }
  const like = (one: Nested): Nested =>
    typeof one === 'number' ? NONE : one instanceof Float32Array ? one.map(() => NONE) : one.map(like);
  return [...row, ...Array.from({ length: length - row.length }, () => like(row[0]))];
}

/** What a model says of rows, with their labels. Yields to the event loop after each. */
export async function predictions<E, M extends TrainedModel>(
  objective: Objective<E, M>,
  model: M,
  rows: E[],
  { precision = 'fp32', after }: EvaluateOptions,
  preprocess?: PreprocessLogits | null,
): Promise<EvalPrediction> {
  const { predict } = objective;
  if (!predict) throw new OptionError('compute_metrics: this trainer does not say what its model predicts. Leave it out.');
  const all: { values: Nested; labels: number | number[] }[] = [];
  let kept = 0;
  for (const row of rows) {
    const labels = objective.labels?.(row) ?? NONE;
    const made = tf.tidy(() => {
      const logits = withPrecision(precision, () => predict(model, row));
      if (!preprocess) return logits;
      const out = preprocess(
        tf.expandDims(logits, 0),
        tf.tensor([labels].flat(), Array.isArray(labels) ? [1, labels.length] : [1], 'int32'),
      );
      if (!(out instanceof tf.Tensor) || out.shape[0] !== 1)
        throw new OptionError(
          `preprocess_logits_for_metrics must return a tensor whose first axis is the rows (1), but gave ${show(out)}.`,
        );
      return tf.reshape(out, out.shape.slice(1));
    });
    kept += made.size;
    const { shape } = made;
    if (kept > MOST) {
      made.dispose();
      throw new OptionError(
        `compute_metrics would keep more than 512 MiB of predictions (a row has [${shape}] of them). Give preprocess_logits_for_metrics, which makes less of each row's: (logits) => tf.argMax(logits, -1), say; or evaluate on fewer rows.`,
      );
    }
    all.push({ values: nested(Float32Array.from(await take(made)), shape), labels });
    await turn();
    await after?.();
  }
  const longest = Math.max(...all.map(({ labels }) => (Array.isArray(labels) ? labels.length : 0)));
  if (!longest)
    return new EvalPrediction(
      all.map(({ values }) => values),
      all.map(({ labels }) => labels),
    );
  return new EvalPrediction(
    all.map(({ values }) => filled(values, longest)),
    all.map(({ labels }) => [...(labels as number[]), ...Array(longest - (labels as number[]).length).fill(NONE)]),
  );
}

/** The figures that compute_metrics returned, under names that begin with eval_. */
export function figuresOf(given: unknown): Record<string, number> {
  const entries = given && typeof given === 'object' ? Object.entries(given) : undefined;
  const bad = entries?.find(([, value]) => typeof value !== 'number');
  if (!entries || bad)
    throw new OptionError(
      `compute_metrics must return numbers by name, { accuracy: 0.9 } say, but ${bad ? `${bad[0]} is ${show(bad[1])}` : `returned ${show(given)}`}.`,
    );
  return Object.fromEntries(entries.map(([name, value]) => [name.startsWith('eval_') ? name : `eval_${name}`, value]));
}

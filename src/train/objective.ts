import { DataError } from '../core/errors';
import { turn } from '../core/interrupt';
import { type Batch, collate, microBatches, type Text } from '../data/collate';
import { take } from '../engine/backend';
import { type Precision, withPrecision } from '../engine/precision';
import * as tf from '../engine/tf';
import { TOKENS_AT_ONCE } from '../evaluate/loss';
import type { ForwardOptions } from '../models/decoder';
import type { TrainedModel } from './gradients';

/** A micro-batch: whole rows with their texts as tensors. */
export interface RowBatch<E> extends Batch {
  rows: E[];
}

export interface LossOptions {
  /** What each row's share is multiplied with: 1 / what all rows of the step weigh together. */
  factor: number;
  /** Whether the loss will be differentiated. */
  gradient: boolean;
  /** label_smoothing_factor: the share of each label that goes to all classes alike. */
  smoothing?: number;
  /** What the model's forward pass is told: `layout`, and `recompute` where blocks are computed again in the backward pass. */
  forward: ForwardOptions;
}

/** The loss and other figures of a micro-batch: what those of all micro-batches of a step add up to is the step's. */
export interface Loss {
  /** [] */
  loss: tf.Scalar;
  /** By the names they are logged and plotted under; tensors [] or numbers. */
  metrics?: Record<string, tf.Scalar | number>;
}

export interface EvaluateOptions {
  /** Rows that go through the model at once, at most. */
  batchSize?: number;
  precision?: Precision;
  /** As in LossOptions. */
  smoothing?: number;
  /** Awaited after each batch. */
  after?: () => Promise<void>;
}

export type Metrics = { eval_loss: number; eval_runtime: number } & Record<string, number>;

/**
 * What is learned, apart from how: one file each. `E` is a row as the trainer of this objective prepares it, `M` the model. Everything
 * else (batches, gradients, optimizer, checkpoints, evaluation, plots) takes what this says.
 */
export interface Objective<E, M extends TrainedModel = TrainedModel> {
  /** The texts of a row, one or several; those of a row are never split between micro-batches. */
  texts(row: E): Text[];
  /** What a row counts for in the mean over a step: its labelled tokens, or 1. */
  weight(row: E): number;
  /**
   * The sum over a micro-batch's rows, times `factor`. Runs on the tape, once a micro-batch, dropout on where it trains: what needs a
   * pass that is not differentiated belongs into `prepare`.
   */
  loss(model: M, batch: RowBatch<E>, options: LossOptions): Loss;
  /** Before the gradients of a step, or an evaluation: what `loss` needs to know of these rows, a reference model's figures say. */
  prepare?(model: M, rows: E[], precision: Precision): Promise<void>;
  /** What compute_metrics gets of a row: logits, [tokens, vocabulary] or [classes], to be disposed by a scope. */
  predict?(model: M, row: E): tf.Tensor;
  /** And the labels: one, or one for each token, -100 where none is learned. */
  labels?(row: E): number | number[];
  /** The names of all figures of an evaluation, where they are known. */
  readonly figures?: readonly string[];
  /** Figures under names that begin with eval_. Without it the means of loss and metrics over the rows. */
  evaluate?(model: M, rows: E[], options: EvaluateOptions): Promise<Metrics>;
}

/** How many tokens a row has, all texts together. */
export const lengthOf = <E>({ texts }: Pick<Objective<E>, 'texts'>, row: E): number =>
  texts(row).reduce((n, { input_ids }) => n + input_ids.length, 0);

/** What rows weigh together; fails where that is nothing. */
export function weightOf<E>(objective: Pick<Objective<E>, 'weight'>, rows: E[]): number {
  const total = rows.reduce((n, row) => n + objective.weight(row), 0);
  if (!(total > 0)) throw new DataError('There is nothing to learn or to evaluate in these rows: every one is empty or fully masked.');
  return total;
}

/** The figures of one micro-batch, from tensors that may be of a scope that ends. */
export const kept = (metrics: Loss['metrics'] = {}): Record<string, tf.Scalar | number> =>
  Object.fromEntries(Object.entries(metrics).map(([name, v]) => [name, typeof v === 'number' ? v : tf.keep(tf.clone(v))]));

/** Adds figures to sums, and frees their tensors. */
export async function addUp(sums: Record<string, number>, figures: Record<string, tf.Tensor | number>): Promise<void> {
  for (const [name, v] of Object.entries(figures)) sums[name] = (sums[name] ?? 0) + (typeof v === 'number' ? v : (await take(v))[0]);
}

/** What an objective says of rows that are not learned from. Yields to the event loop between batches. */
export async function evaluateRows<E, M extends TrainedModel>(
  objective: Objective<E, M>,
  model: M,
  rows: E[],
  options: EvaluateOptions = {},
): Promise<Metrics> {
  if (objective.evaluate) return objective.evaluate(model, rows, options);
  const { batchSize, precision = 'fp32', smoothing, after } = options;
  const start = performance.now();
  const factor = 1 / weightOf(objective, rows);
  const lengths = new Map(rows.map((row) => [row, lengthOf(objective, row)]));
  const sorted = [...rows].sort((a, b) => (lengths.get(a) ?? 0) - (lengths.get(b) ?? 0));
  await objective.prepare?.(model, rows, precision);
  const sums: Record<string, number> = {};
  for (const group of microBatches(sorted, objective.texts, TOKENS_AT_ONCE, batchSize)) {
    const figures = tf.tidy(() => {
      const batch = { ...collate(group, objective.texts), rows: group };
      const { loss, metrics } = withPrecision(precision, () =>
        objective.loss(model, batch, { factor, gradient: false, smoothing, forward: { layout: batch.layout } }),
      );
      return kept({ loss, ...metrics });
    });
    await addUp(sums, figures);
    await turn();
    await after?.();
  }
  const named = Object.fromEntries(Object.entries(sums).map(([name, v]) => [`eval_${name}`, v]));
  return { ...named, eval_runtime: (performance.now() - start) / 1000 } as Metrics;
}

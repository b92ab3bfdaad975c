import type { Batch, Text } from '../data/collate';
import type { Row } from '../data/dataset';
import type * as tf from '../engine/tf';
import type { Tokenizer } from '../tokenizers/tokenizer';
import type { ForwardOptions } from './decoder';

/** What a head learns: rows of its own kind, and the loss of a micro-batch of them. transformers' `Trainer` trains by it. */
export interface Task<E> {
  /** A row of a dataset as the model sees it; `where` names it in errors. */
  row(given: Row, tokenizer: Tokenizer, where: string): E;
  texts(row: E): Text[];
  /** What a row counts for in the mean over a step. */
  weight(row: E): number;
  /** What a row is held for: logits, [classes]. */
  predict(row: E): tf.Tensor;
  label(row: E): number;
  /** The sum over the rows, times `factor`, and other such sums by the names they are logged under. */
  loss(
    batch: Batch & { rows: E[] },
    options: { factor: number; smoothing?: number; forward: ForwardOptions },
  ): { loss: tf.Scalar; metrics?: Record<string, tf.Scalar | number> };
}

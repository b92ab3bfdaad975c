import * as tf from '../engine/tf';
import type { Example } from './sft';

/** Rows of one micro-batch as tensors: ids padded on the right, and the places whose next token is to be learned. */
export interface Batch {
  /** int32 [rows, longest] */
  ids: tf.Tensor2D;
  /** int32 [labelled]: flat places in [rows * longest] whose successor is the label. */
  positions: tf.Tensor1D;
  /** int32 [labelled] */
  labels: tf.Tensor1D;
}

/** Number of labels in a row: trained tokens behind the first. */
export const labelCount = (example: Example): number => example.trained.reduce((n, t, i) => n + (t && i > 0 ? 1 : 0), 0);

/** Padding is told by place, never by id, so a pad token that is also the end of a text is learned where it is one. */
export function collate(examples: Example[], padId: number): Batch {
  const longest = Math.max(...examples.map((e) => e.input_ids.length));
  const ids = new Int32Array(examples.length * longest).fill(padId);
  const positions: number[] = [];
  const labels: number[] = [];
  for (const [row, { input_ids, trained }] of examples.entries()) {
    ids.set(input_ids, row * longest);
    for (let i = 1; i < input_ids.length; i++) {
      if (!trained[i]) continue;
      positions.push(row * longest + i - 1);
      labels.push(input_ids[i]);
    }
  }
  return {
    ids: tf.tensor2d(ids, [examples.length, longest], 'int32'),
    positions: tf.tensor1d(positions, 'int32'),
    labels: tf.tensor1d(labels, 'int32'),
  };
}

/** Groups of at most `most` rows whose padded size stays within `tokens`; rows keep their order, and one row alone may be longer. */
export function microBatches(examples: Example[], tokens: number, most = Number.POSITIVE_INFINITY): Example[][] {
  const groups: Example[][] = [];
  let group: Example[] = [];
  let longest = 0;
  for (const example of examples) {
    const length = Math.max(longest, example.input_ids.length);
    if (group.length && (group.length === most || length * (group.length + 1) > tokens)) {
      groups.push(group);
      group = [];
      longest = example.input_ids.length;
    } else longest = length;
    group.push(example);
  }
  if (group.length) groups.push(group);
  return groups;
}

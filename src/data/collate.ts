import * as tf from '../engine/tf';
import type { Example } from './sft';

/** Rows of one micro-batch as tensors, one behind another, and the places whose next token is to be learned. */
export interface Batch {
  /** int32 [1, tokens] */
  ids: tf.Tensor2D;
  /** Of the rows. */
  lengths: number[];
  /** int32 [labelled]: places in [tokens] whose successor is the label. */
  positions: tf.Tensor1D;
  /** int32 [labelled] */
  labels: tf.Tensor1D;
}

/** Lengths of the texts that a row is made of: one, or several that were packed into it. */
const lengthsOf = (example: Example): number[] => example.lengths ?? [example.input_ids.length];

/** Places in a row whose successor is a label; the first token of a text has nobody to predict it. */
function labelledPlaces(example: Example): number[] {
  const places: number[] = [];
  let from = 0;
  for (const length of lengthsOf(example)) {
    for (let i = from + 1; i < from + length; i++) if (example.trained[i]) places.push(i - 1);
    from += length;
  }
  return places;
}

export const labelCount = (example: Example): number => labelledPlaces(example).length;

/** Nothing is padded, and no row sees another. */
export function collate(examples: Example[]): Batch {
  const ids: number[] = [];
  const positions: number[] = [];
  const labels: number[] = [];
  for (const example of examples) {
    for (const place of labelledPlaces(example)) {
      positions.push(ids.length + place);
      labels.push(example.input_ids[place + 1]);
    }
    for (const id of example.input_ids) ids.push(id);
  }
  return {
    ids: tf.tensor2d(ids, [1, ids.length], 'int32'),
    lengths: examples.flatMap(lengthsOf),
    positions: tf.tensor1d(positions, 'int32'),
    labels: tf.tensor1d(labels, 'int32'),
  };
}

/** Groups of at most `most` rows with `tokens` tokens in all; rows keep their order, and one row alone may be longer. */
export function microBatches(examples: Example[], tokens: number, most = Number.POSITIVE_INFINITY): Example[][] {
  const groups: Example[][] = [];
  let size = 0;
  for (const example of examples) {
    const length = example.input_ids.length;
    const group = groups.at(-1);
    if (group && group.length < most && size + length <= tokens) {
      group.push(example);
      size += length;
    } else {
      groups.push([example]);
      size = length;
    }
  }
  return groups;
}

/**
 * Rows packed into rows of at most `most` tokens, the longest first, each into the fullest that has room (TRL's 'bfd', best fit
 * decreasing): as many tokens in every row of a batch. The texts in a row do not see one another.
 */
export function pack(examples: Example[], most: number): Example[] {
  const bins: Example[][] = [];
  const room: number[] = [];
  for (const example of [...examples].sort((a, b) => b.input_ids.length - a.input_ids.length)) {
    const length = example.input_ids.length;
    let best = -1;
    for (let i = 0; i < bins.length; i++) if (room[i] >= length && (best < 0 || room[i] < room[best])) best = i;
    if (best < 0) best = bins.push([]) - 1;
    bins[best].push(example);
    room[best] = (room[best] ?? most) - length;
  }
  return bins.map((texts) => ({
    input_ids: texts.flatMap((text) => text.input_ids),
    trained: texts.flatMap((text) => text.trained),
    lengths: texts.flatMap(lengthsOf),
  }));
}

import type { Layout } from '../engine/ops/attention';
import * as tf from '../engine/tf';
import type { Example } from './sft';

/** Rows of one micro-batch as tensors, one behind another, and the places whose next token is to be learned. */
export interface Batch {
  /** int32 [1, tokens] */
  ids: tf.Tensor2D;
  layout: Layout;
  /** int32 [labelled]: places in [tokens] whose successor is the label; one that several rows have in common stands there for each. */
  positions: tf.Tensor1D;
  /** int32 [labelled] */
  labels: tf.Tensor1D;
  /** [labelled]: which of the texts each label belongs to. */
  textOf: number[];
  /** [texts]: the row of each text, counted from 0. */
  rowOf: number[];
  /** [texts]: the place in [tokens] of the last token that is read of each. */
  ends: number[];
}

/** A common beginning shorter than this is not worth the bookkeeping. */
const SHORTEST_PREFIX = 8;

/** What the model reads in one go, seeing nothing else. An objective says which texts a row has. */
export interface Text {
  /** Tokens that the model reads, at least one. What comes after the last label's predecessor would change nothing. */
  read: number[];
  input_ids: number[];
  /** Whether each token is one to learn. */
  trained: boolean[];
}

/** A text that is read as far as it takes to learn its trained tokens. */
export const asText = (input_ids: number[], trained: boolean[]): Text => ({
  read: input_ids.slice(0, Math.max(trained.lastIndexOf(true), 1)),
  input_ids,
  trained,
});

/** Texts that a row of supervised fine-tuning is made of: itself, or several that were packed into it. */
export function textsOf({ input_ids, trained, lengths }: Example): Text[] {
  let to = 0;
  return (lengths ?? [input_ids.length]).map((length) => {
    const from = to;
    to += length;
    return asText(input_ids.slice(from, to), trained.slice(from, to));
  });
}

/** How many of `most` tokens two texts begin with alike. */
function alike(a: number[], b: number[], most: number): number {
  let n = 0;
  while (n < most && a[n] === b[n]) n++;
  return n;
}

/** Tokens that texts begin with in common, or 0 where that is too little to share. Each keeps one of its own. */
function prefixOf(texts: Text[]): number {
  let prefix = texts.reduce((least, { read }) => Math.min(least, read.length - 1), Number.POSITIVE_INFINITY);
  for (const { read } of texts) prefix = alike(read, texts[0].read, prefix);
  return texts.length > 1 && prefix >= SHORTEST_PREFIX ? prefix : 0;
}

/** Of a text; its first token has nobody to predict it. */
const labelsOf = ({ trained }: Text): number => trained.reduce((n, learned, i) => n + (learned && i ? 1 : 0), 0);

export const labelCount = (example: Example): number => textsOf(example).reduce((n, text) => n + labelsOf(text), 0);

/**
 * Nothing is padded, and no text sees another. What all texts begin with (a system prompt, a template) stands there once: under
 * causal attention its hidden states are the same in each of them, and gradients add up.
 */
export function collate<E>(rows: E[], textsOf: (row: E) => Text[]): Batch {
  const all = rows.map(textsOf);
  const texts = all.flat();
  const prefix = prefixOf(texts);
  const ids = texts[0].read.slice(0, prefix);
  const positions: number[] = [];
  const labels: number[] = [];
  const textOf: number[] = [];
  const ends: number[] = [];
  for (const [text, { read, input_ids, trained }] of texts.entries()) {
    const own = ids.length - prefix; // added to a place behind the prefix
    for (let i = 1; i < input_ids.length; i++)
      if (trained[i]) {
        positions.push(i - 1 < prefix ? i - 1 : own + i - 1);
        labels.push(input_ids[i]);
        textOf.push(text);
      }
    for (let i = prefix; i < read.length; i++) ids.push(read[i]);
    ends.push(ids.length - 1);
  }
  const lengths = texts.map(({ read }) => read.length - prefix);
  return {
    ids: tf.tensor2d(ids, [1, ids.length], 'int32'),
    layout: prefix ? { lengths: [prefix, ...lengths], prefixed: true } : { lengths },
    positions: tf.tensor1d(positions, 'int32'),
    labels: tf.tensor1d(labels, 'int32'),
    textOf,
    rowOf: all.flatMap((texts, row) => texts.map(() => row)),
    ends,
  };
}

/**
 * Groups of at most `most` rows with `tokens` tokens in all, a common beginning counted once; rows keep their order and their texts
 * stay together, and one row alone may be longer.
 */
export function microBatches<E>(rows: E[], textsOf: (row: E) => Text[], tokens: number, most = Number.POSITIVE_INFINITY): E[][] {
  const groups: { rows: E[]; texts: Text[]; size: number }[] = [];
  for (const row of rows) {
    const added = textsOf(row);
    const length = added.reduce((n, { read }) => n + read.length, 0);
    const group = groups.at(-1);
    const texts = group ? [...group.texts, ...added] : added;
    const size = (group?.size ?? 0) + length;
    if (group && group.rows.length < most && size - (texts.length - 1) * prefixOf(texts) <= tokens) {
      group.rows.push(row);
      Object.assign(group, { texts, size });
    } else {
      groups.push({ rows: [row], texts: added, size: length });
    }
  }
  return groups.map(({ rows }) => rows);
}

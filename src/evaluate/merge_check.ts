import { OptionError } from '../core/errors';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import type { CausalLM } from '../models/causal_lm';
import type { PeftModel } from '../peft/model';

/** What merging an adapter into the weights, kept in bf16, does to the logits of a text. */
export interface MergeDrift {
  format: string;
  tokens: number;
  /** Largest change of any logit. */
  drift: number;
  /** Standard deviation of the logits. */
  spread: number;
  /** Share of positions whose most likely next token stays the same. */
  agreement: number;
}

/** Compares the adapter beside its base with the two merged, on one row of token ids. The model is left as it was. */
export async function mergeCheck(model: PeftModel<CausalLM>, ids: number[]): Promise<MergeDrift> {
  if (model.isMerged) throw new OptionError('The merge check compares with the adapter beside its base: call unmerge_adapter() first.');
  if (!ids.length) throw new OptionError('The merge check needs a text of at least one token.');
  const base = model.base_model;
  const logits = () => take(tf.tidy(() => base.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).reshape([-1])));
  const before = await logits();
  await model.merge_adapter();
  let after: Float32Array;
  try {
    after = await logits();
  } finally {
    model.unmerge_adapter();
  }
  const vocabulary = before.length / ids.length;
  let drift = 0;
  let sum = 0;
  let squares = 0;
  let same = 0;
  for (let row = 0; row < ids.length; row++) {
    let [best, bestAfter] = [row * vocabulary, row * vocabulary];
    for (let i = row * vocabulary; i < (row + 1) * vocabulary; i++) {
      drift = Math.max(drift, Math.abs(after[i] - before[i]));
      sum += before[i];
      squares += before[i] ** 2;
      if (before[i] > before[best]) best = i;
      if (after[i] > after[bestAfter]) bestAfter = i;
    }
    if (best === bestAfter) same++;
  }
  const mean = sum / before.length;
  const spread = Math.sqrt(Math.max(0, squares / before.length - mean * mean));
  return { format: 'bf16', tokens: ids.length, drift, spread, agreement: same / ids.length };
}

import { OptionError } from '../core/errors';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { Weight } from '../engine/weights';
import type { CausalLM } from '../models/causal_lm';
import { Linear, type LowRank, Parameter } from '../nn';
import type { PeftModel } from '../peft/model';
import { bf16 } from '../quantize';

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

/** W + scale B A, rounded to bf16. */
async function merged(linear: Linear): Promise<Weight> {
  const { weight, lowRank } = linear;
  const sum = tf.tidy(() => {
    let w = weight instanceof Parameter ? tf.clone(weight.tensor as tf.Tensor2D) : weight.dequantize();
    for (const { a, b, scale } of lowRank)
      w = tf.add(w, tf.mul(tf.matMul(b.tensor as tf.Tensor2D, a.tensor as tf.Tensor2D), scale)) as tf.Tensor2D;
    return w;
  });
  const values = await take(sum);
  return new Weight(bf16, linear.weight.shape as [number, number], bf16.encode?.(values as Float32Array, linear.inFeatures) as Uint8Array);
}

/** Compares the adapter beside its base with the two merged, on one row of token ids. The model is left as it was. */
export async function mergeCheck(model: PeftModel<CausalLM>, ids: number[]): Promise<MergeDrift> {
  if (!ids.length) throw new OptionError('The merge check needs a text of at least one token.');
  const base = model.base_model;
  const logits = () => take(tf.tidy(() => base.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).reshape([-1])));
  const before = await logits();
  const changed: { linear: Linear; weight: Linear['weight']; lowRank: LowRank[] }[] = [];
  let after: ArrayLike<number>;
  try {
    for (const [, linear] of base.namedModules()) {
      if (!(linear instanceof Linear) || !linear.lowRank.length) continue;
      const { weight, lowRank } = linear;
      const whole = await merged(linear);
      changed.push({ linear, weight, lowRank });
      Object.assign(linear, { weight: whole, lowRank: [] });
    }
    after = await logits();
  } finally {
    for (const { linear, weight, lowRank } of changed) {
      linear.weight.dispose();
      Object.assign(linear, { weight, lowRank });
    }
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

import { OptionError } from '../core/errors';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { Weight } from '../engine/weights';
import type { CausalLM } from '../models/causal_lm';
import { Embedding, Linear, type Matrix, Parameter } from '../nn';
import type { PeftModel } from '../peft/model';
import { bf16 } from '../quantize';

type Layer = Linear | Embedding;

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

/** A layer's matrix with its low-rank terms added, rounded to bf16: W + scale B A, of a table [words, out] W + scale (B A)^T. */
async function merged(layer: Layer): Promise<Weight> {
  const { weight, lowRank } = layer;
  const isTable = layer instanceof Embedding;
  const sum = tf.tidy(() => {
    let w = weight instanceof Parameter ? tf.clone(weight.tensor as tf.Tensor2D) : weight.dequantize();
    for (const { a, b, scale } of lowRank) {
      const [left, right] = (isTable ? [a, b] : [b, a]).map(({ tensor }) => tensor as tf.Tensor2D);
      w = tf.add(w, tf.mul(tf.matMul(left, right, isTable, isTable), scale)) as tf.Tensor2D;
    }
    return w;
  });
  const [rows, columns] = weight.shape;
  const values = await take(sum);
  return new Weight(bf16, [rows, columns], bf16.encode?.(values as Float32Array, columns) as Uint8Array);
}

/** Runs f with all low-rank terms added to their matrices. A table and a head that share one have one each meanwhile. */
async function withMerged<T>(base: CausalLM, f: () => Promise<T>): Promise<T> {
  const layers = [...base.namedModules()].flatMap(([, m]) => (m instanceof Linear || m instanceof Embedding ? [m as Layer] : []));
  const before = layers.map((layer) => ({
    layer,
    lowRank: layer.lowRank,
    field: Object.getOwnPropertyDescriptor(layer, 'weight') as object,
  }));
  const put = (layer: Layer, weight: Matrix) =>
    Object.defineProperty(layer, 'weight', { value: weight, enumerable: true, configurable: true, writable: true });
  const made: Weight[] = [];
  try {
    for (const layer of layers) put(layer, layer.weight);
    for (const layer of layers) {
      if (!layer.lowRank.length) continue;
      const whole = await merged(layer);
      made.push(whole);
      put(layer, whole);
      layer.lowRank = [];
    }
    return await f();
  } finally {
    for (const { layer, lowRank, field } of before) {
      layer.lowRank = lowRank;
      Object.defineProperty(layer, 'weight', field);
    }
    for (const weight of made) weight.dispose();
  }
}

/** Compares the adapter beside its base with the two merged, on one row of token ids. The model is left as it was. */
export async function mergeCheck(model: PeftModel<CausalLM>, ids: number[]): Promise<MergeDrift> {
  if (!ids.length) throw new OptionError('The merge check needs a text of at least one token.');
  const base = model.base_model;
  const logits = () => take(tf.tidy(() => base.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).reshape([-1])));
  const before = await logits();
  const after = await withMerged(base, logits);
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

import { Random } from '../core/random';
import type { Layout } from '../engine/ops/attention';
import * as tf from '../engine/tf';

/** Noise that is added to embeddings while training (NEFTune: Jain et al., 2023, https://arxiv.org/abs/2310.05914). */
export interface EmbeddingNoise {
  alpha: number;
  /** Decides what is drawn. */
  seed: number;
}

/**
 * Embeddings [batch, seq, hidden] with uniform noise of at most alpha / sqrt(L * hidden) added, where L is the longest row's length, as in
 * transformers, whose rows are padded to that. What several rows begin with alike gets one noise for all of them.
 */
export function noisy(x: tf.Tensor3D, { alpha, seed }: EmbeddingNoise, layout?: Layout): tf.Tensor3D {
  const [, seq, hidden] = x.shape;
  const [first, ...rest] = layout?.lengths ?? [seq];
  const longest = layout?.prefixed ? first + Math.max(0, ...rest) : Math.max(first, ...rest);
  const most = alpha / Math.sqrt(longest * hidden);
  const random = Random.seeded(seed, 1);
  const noise = Float32Array.from({ length: x.size }, () => (2 * random.uniform() - 1) * most);
  return tf.add(x, tf.tensor3d(noise, x.shape));
}

import type { ModelConfig } from './config';
import type { Decoder } from './decoder';
import type { PretrainedModel } from './pretrained';
import type { WeightSource } from './source';

/** What stands beside a decoder, of any architecture: one file each. Its class says by static members how it is loaded. */
export interface Head<M extends PretrainedModel> {
  /** What transformers' classes with it end with: 'ForCausalLM'. */
  readonly suffix: string;
  /** Tensors of other heads, which it passes over without a word. */
  readonly elsewhere?: RegExp;
  /** Options of from_pretrained that are its own, with their defaults. */
  readonly options?: Record<string, unknown>;
  /** `options` are those of its own. */
  load(decoder: Decoder, config: ModelConfig, source: WeightSource, options: Record<string, unknown>): Promise<M>;
}

import type { KeyTable } from './keys';
import { decoderConfig, LLAMA_KEYS, type LlamaConfig } from './llama_config';

const { attention_bias: _, mlp_bias: __, pretraining_tp: ___, ...shared } = LLAMA_KEYS;
/** What becomes of the keys of a Mistral's config.json. */
export const MISTRAL_KEYS: KeyTable = { ...shared, sliding_window: 'obeyed' };

/**
 * Mistral 7B and its kin (Jiang et al., 2023, https://arxiv.org/abs/2310.06825): Llama whose tokens see a window of those before
 * them. config.json with transformers' defaults for it filled in.
 */
export function mistralConfig(json: Record<string, unknown>, name: string): LlamaConfig {
  const defaults = { num_key_value_heads: 8, max_position_embeddings: 4096 * 32, sliding_window: 4096 };
  return { ...decoderConfig(json, MISTRAL_KEYS, defaults, name), attention_bias: false, mlp_bias: false };
}

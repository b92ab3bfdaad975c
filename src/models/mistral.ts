import { checkSizes } from './causal_lm';
import { type LlamaConfig, llamaConfig } from './llama';

/**
 * Mistral 7B and its kin (Jiang et al., 2023, https://arxiv.org/abs/2310.06825): Llama whose tokens see a window of those before
 * them. config.json with transformers' defaults for it filled in.
 */
export function mistralConfig(json: Record<string, unknown>, name: string): LlamaConfig {
  checkSizes(json, [], ['sliding_window'], name);
  const { sliding_window = 4096 } = json as { sliding_window?: number | null };
  const defaults = { num_key_value_heads: 8, max_position_embeddings: 4096 * 32 };
  return { ...llamaConfig({ ...defaults, ...json }, name), sliding_window };
}

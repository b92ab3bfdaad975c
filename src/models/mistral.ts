import type { Architecture } from './architecture';
import type { KeyTable } from './keys';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, ggufNames, interleavedHeads, windowIn } from './pre_norm_gguf';

interface MistralConfig extends PreNormConfig {
  /** Tokens that a token sees, itself among them; null: all before it. */
  sliding_window: number | null;
}

const KEYS: KeyTable = { ...PRE_NORM_KEYS, sliding_window: 'obeyed' };
const biases = { q: false, k: false, v: false, o: false, mlp: false };

/**
 * Mistral 7B and its kin (Jiang et al., 2023, https://arxiv.org/abs/2310.06825): Llama whose tokens see a window of those before them.
 */
export const mistral: Architecture<MistralConfig> = {
  model_type: 'mistral',
  name: 'Mistral',
  keys: KEYS,
  config: (json, name) =>
    preNormConfig<MistralConfig>(json, KEYS, { num_key_value_heads: 8, max_position_embeddings: 4096 * 32, sliding_window: 4096 }, name),
  decoder: (config, source, report) =>
    PreNormDecoder.load(config, { biases, windowOf: () => config.sliding_window ?? undefined }, source, report),
  gguf: {
    keys: GGUF_KEYS,
    config: async (gguf) => ({ ...(await configFromGguf(gguf)), sliding_window: windowIn(gguf) }),
    names: ({ head_dim }) => ({ ...ggufNames(/^$/), rowOrder: interleavedHeads(head_dim) }),
  },
};

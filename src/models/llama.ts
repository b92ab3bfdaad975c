import type { Architecture } from './architecture';
import type { CausalLM } from './causal_lm';
import type { KeyTable } from './keys';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { biasedIn, configFromGguf, GGUF_KEYS, ggufNames, interleavedHeads, windowIn } from './pre_norm_gguf';

interface LlamaConfig extends PreNormConfig {
  attention_bias: boolean;
  mlp_bias: boolean;
}

const KEYS: KeyTable = {
  ...PRE_NORM_KEYS,
  attention_bias: 'obeyed',
  mlp_bias: 'obeyed',
  /** Slices of matrices that sum to the same; transformers 5 has dropped it. */
  pretraining_tp: 'no effect',
};

/** Llama (Touvron et al., 2023, https://arxiv.org/abs/2302.13971). */
export const llama: Architecture<LlamaConfig> = {
  model_type: 'llama',
  name: 'Llama',
  keys: KEYS,
  config: (json, name) =>
    preNormConfig<LlamaConfig>(json, KEYS, { max_position_embeddings: 2048, attention_bias: false, mlp_bias: false }, name),
  decoder: (config, source, report) => {
    const { attention_bias: q, mlp_bias: mlp } = config;
    return PreNormDecoder.load(config, { biases: { q, k: q, v: q, o: q, mlp }, windowOf: () => undefined }, source, report);
  },
  gguf: {
    keys: GGUF_KEYS,
    /** llama.cpp calls a Mistral so too, and tells it by its window. */
    async config(gguf) {
      const [attention_bias, mlp_bias] = [biasedIn(gguf, 'attn'), biasedIn(gguf, 'ffn')];
      const sliding_window = windowIn(gguf);
      const model_type = sliding_window ? 'mistral' : 'llama';
      const own = sliding_window ? { sliding_window } : attention_bias || mlp_bias ? { attention_bias, mlp_bias } : {};
      return { ...(await configFromGguf(gguf)), model_type, ...own };
    },
    names: ({ head_dim }) => ({ ...ggufNames(), rowOrder: interleavedHeads(head_dim) }),
  },
};

export type LlamaForCausalLM = CausalLM<PreNormDecoder> & { readonly model: PreNormDecoder };

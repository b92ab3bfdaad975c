import type { Architecture } from './architecture';
import { numbersOf } from './gguf_metadata';
import type { KeyTable } from './keys';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { biasedIn, configFromGguf, GGUF_KEYS, ggufNames, interleavedHeads } from './pre_norm_gguf';

interface GraniteConfig extends PreNormConfig {
  attention_bias: boolean;
  mlp_bias: boolean;
  embedding_multiplier: number;
  residual_multiplier: number;
  attention_multiplier: number;
  /** Logits are divided by it. */
  logits_scaling: number;
}

const KEYS: KeyTable = {
  ...PRE_NORM_KEYS,
  attention_bias: 'obeyed',
  mlp_bias: 'obeyed',
  embedding_multiplier: 'obeyed',
  residual_multiplier: 'obeyed',
  attention_multiplier: 'obeyed',
  logits_scaling: 'obeyed',
};
const ONES = { embedding_multiplier: 1, residual_multiplier: 1, attention_multiplier: 1, logits_scaling: 1 };

/** Granite 3 and 4's dense models (IBM, 2024, https://github.com/ibm-granite/granite-3.0-language-models): Llama with multipliers. */
export const granite: Architecture<GraniteConfig> = {
  model_type: 'granite',
  name: 'Granite',
  keys: KEYS,
  config(json, name) {
    const biases = { attention_bias: false, mlp_bias: false };
    return preNormConfig<GraniteConfig>(json, KEYS, { max_position_embeddings: 2048, ...biases, ...ONES }, name);
  },
  decoder(config, source, report) {
    const { attention_bias: q, mlp_bias: mlp } = config;
    const build = {
      biases: { q, k: q, v: q, o: q, mlp },
      windowOf: () => undefined,
      inputScale: config.embedding_multiplier,
      residualScale: config.residual_multiplier,
      scale: config.attention_multiplier,
      logits: { times: 1 / config.logits_scaling },
    };
    return PreNormDecoder.load(config, build, source, report);
  },
  gguf: {
    keys: { ...GGUF_KEYS, logit_scale: 'obeyed', residual_scale: 'obeyed', embedding_scale: 'obeyed', 'attention.scale': 'obeyed' },
    async config(gguf) {
      const get = numbersOf(gguf, 'granite');
      const config = await configFromGguf(gguf);
      return {
        ...config,
        ...{ attention_bias: biasedIn(gguf, 'attn'), mlp_bias: biasedIn(gguf, 'ffn') },
        // llama.cpp takes what is 0 or missing for "not used".
        embedding_multiplier: get('embedding_scale') || 1,
        residual_multiplier: get('residual_scale') || 1,
        attention_multiplier: get('attention.scale') || 1 / Math.sqrt(config.head_dim as number),
        logits_scaling: get('logit_scale') || 1,
      };
    },
    names: ({ head_dim }) => ({ ...ggufNames(), rowOrder: interleavedHeads(head_dim) }),
  },
};

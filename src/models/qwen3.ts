import type { Architecture } from './architecture';
import type { KeyTable } from './keys';
import { checkLayerTypes } from './layer_types';
import { PreNormDecoder } from './pre_norm';
import { preNormConfig } from './pre_norm_config';
import { configFromGguf, ggufNames, HEAD_NORMS } from './pre_norm_gguf';
import { QWEN2_DEFAULTS, QWEN2_GGUF_KEYS, QWEN2_KEYS, type Qwen2Config, qwen2Windows } from './qwen2';

interface Qwen3Config extends Qwen2Config {
  attention_bias: boolean;
}

const KEYS: KeyTable = { ...QWEN2_KEYS, attention_bias: 'obeyed' };

/** Qwen3 (Yang et al., 2025, https://arxiv.org/abs/2505.09388): Qwen2 with norms of each head's queries and keys, mostly without biases. */
export const qwen3: Architecture<Qwen3Config> = {
  model_type: 'qwen3',
  name: 'Qwen3',
  keys: KEYS,
  config(json, name) {
    const config = preNormConfig<Qwen3Config>(json, KEYS, { ...QWEN2_DEFAULTS, head_dim: 128, attention_bias: false }, name);
    checkLayerTypes(config, name);
    return config;
  },
  decoder(config, source, report) {
    const { attention_bias: q } = config;
    const build = { biases: { q, k: q, v: q, o: q, mlp: false }, windowOf: qwen2Windows(config), headNorms: true };
    return PreNormDecoder.load(config, build, source, report);
  },
  gguf: {
    keys: QWEN2_GGUF_KEYS,
    config: configFromGguf,
    names: () => ggufNames(/^$/, HEAD_NORMS),
  },
};

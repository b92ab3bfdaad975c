import type { Architecture } from './architecture';
import type { KeyTable } from './keys';
import { checkLayerTypes, WINDOW_KEYS, windowOf } from './layer_types';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, ggufNames } from './pre_norm_gguf';

export interface Qwen2Config extends PreNormConfig {
  use_sliding_window: boolean;
  sliding_window: number | null;
  /** The first layer with a window, where layer_types do not say which have one. */
  max_window_layers: number;
  layer_types?: string[] | null;
}

export const QWEN2_KEYS: KeyTable = { ...PRE_NORM_KEYS, ...WINDOW_KEYS, max_window_layers: 'obeyed' };

export const QWEN2_DEFAULTS = {
  num_key_value_heads: 32,
  max_position_embeddings: 32768,
  use_sliding_window: false,
  sliding_window: 4096,
  max_window_layers: 28,
};

export const qwen2Windows = (config: Qwen2Config) => windowOf(config, (layer) => layer >= config.max_window_layers);
/** llama.cpp has none in these architectures. */
export const QWEN2_GGUF_KEYS: KeyTable = {
  ...GGUF_KEYS,
  'attention.sliding_window': { refused: 'llama.cpp has no windows for this architecture' },
};

/** Qwen2 (Yang et al., 2024, https://arxiv.org/abs/2407.10671): Llama whose queries, keys and values have biases; some layers may see a window. */
export const qwen2: Architecture<Qwen2Config> = {
  model_type: 'qwen2',
  name: 'Qwen2',
  keys: QWEN2_KEYS,
  config(json, name) {
    const config = preNormConfig<Qwen2Config>(json, QWEN2_KEYS, QWEN2_DEFAULTS, name);
    checkLayerTypes(config, name);
    return config;
  },
  decoder(config, source, report) {
    const biases = { q: true, k: true, v: true, o: false, mlp: false };
    return PreNormDecoder.load(config, { biases, windowOf: qwen2Windows(config) }, source, report);
  },
  gguf: {
    keys: QWEN2_GGUF_KEYS,
    config: configFromGguf,
    names: () => ggufNames(/\.(q|k|v)_proj$/),
  },
};

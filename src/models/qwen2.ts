import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { Architecture } from './architecture';
import type { KeyTable } from './keys';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, ggufNames } from './pre_norm_gguf';

interface Qwen2Config extends PreNormConfig {
  use_sliding_window: boolean;
  /** Tokens that a token of a layer with a window sees, itself among them. */
  sliding_window: number | null;
  /** The first layer with a window, where layer_types do not say which have one. */
  max_window_layers: number;
  layer_types?: string[] | null;
}

const KEYS: KeyTable = {
  ...PRE_NORM_KEYS,
  use_sliding_window: 'obeyed',
  sliding_window: 'obeyed',
  max_window_layers: 'obeyed',
  layer_types: 'obeyed',
};

const DEFAULTS = {
  num_key_value_heads: 32,
  max_position_embeddings: 32768,
  use_sliding_window: false,
  sliding_window: 4096,
  max_window_layers: 28,
};
const TYPES = ['full_attention', 'sliding_attention'];

function qwen2Config(json: Record<string, unknown>, name: string): Qwen2Config {
  const config = preNormConfig<Qwen2Config>(json, KEYS, DEFAULTS, name);
  const { layer_types: types, use_sliding_window: on, sliding_window: window, num_hidden_layers: layers } = config;
  const fail = (what: string) => new FileError(`The config.json of ${name} sets layer_types to ${show(types)}: ${what}.`);
  if (types && (!Array.isArray(types) || types.length !== layers || !types.every((type) => TYPES.includes(type))))
    throw fail(`it must say ${TYPES.map(show).join(' or ')} for each of ${layers} layers`);
  if (types?.includes('sliding_attention') && !(on && window)) throw fail('but use_sliding_window and sliding_window give them no window');
  return config;
}

/** Qwen2 (Yang et al., 2024, https://arxiv.org/abs/2407.10671): Llama whose queries, keys and values have biases; some layers may see a window. */
export const qwen2: Architecture<Qwen2Config> = {
  model_type: 'qwen2',
  name: 'Qwen2',
  keys: KEYS,
  config: qwen2Config,
  decoder(config, source, report) {
    const { use_sliding_window: on, sliding_window: window, max_window_layers: first, layer_types: types } = config;
    const slides = (layer: number) => on && (types ? types[layer] === 'sliding_attention' : layer >= first);
    const build = {
      biases: { q: true, k: true, v: true, o: false, mlp: false },
      windowOf: (layer: number) => (slides(layer) ? (window ?? undefined) : undefined),
    };
    return PreNormDecoder.load(config, build, source, report);
  },
  gguf: {
    keys: { ...GGUF_KEYS, 'attention.sliding_window': { refused: 'llama.cpp has no windows for this architecture' } },
    config: configFromGguf,
    names: () => ggufNames(/\.(q|k|v)_proj$/),
  },
};

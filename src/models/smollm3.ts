import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { Architecture } from './architecture';
import type { KeyTable } from './keys';
import { checkLayerTypes, WINDOW_KEYS, windowOf } from './layer_types';
import { PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, ggufNames, interleavedHeads } from './pre_norm_gguf';

interface SmolLM3Config extends PreNormConfig {
  attention_bias: boolean;
  mlp_bias: boolean;
  use_sliding_window: boolean;
  sliding_window: number | null;
  layer_types?: string[] | null;
  /** 1 for each layer that turns queries and keys, 0 for one that does not. */
  no_rope_layers?: number[] | null;
  /** Where no_rope_layers says nothing: the last of so many layers does not turn. */
  no_rope_layer_interval: number;
}

const KEYS: KeyTable = {
  ...PRE_NORM_KEYS,
  ...WINDOW_KEYS,
  attention_bias: 'obeyed',
  mlp_bias: 'obeyed',
  no_rope_layers: 'obeyed',
  no_rope_layer_interval: 'obeyed',
};
const DEFAULTS = {
  ...{ num_key_value_heads: 4, max_position_embeddings: 32768, tie_word_embeddings: true, attention_bias: false, mlp_bias: false },
  ...{ use_sliding_window: false, sliding_window: null, no_rope_layer_interval: 4 },
  ...{ pad_token_id: 128004, bos_token_id: 128000, eos_token_id: 128001 },
};

function smollm3Config(json: Record<string, unknown>, name: string): SmolLM3Config {
  const config = preNormConfig<SmolLM3Config>(json, KEYS, DEFAULTS, name, { theta: 2_000_000 });
  const { no_rope_layers: turned, num_hidden_layers: layers } = config;
  if (turned && !(Array.isArray(turned) && turned.length >= layers))
    throw new FileError(
      `The config.json of ${name} sets no_rope_layers to ${show(turned)}: it must say 0 or 1 for each of ${layers} layers.`,
    );
  checkLayerTypes(config, name);
  return config;
}

/** SmolLM3 (Bakouch et al., 2025, https://huggingface.co/blog/smollm3): Llama in which some layers know no positions. */
export const smollm3: Architecture<SmolLM3Config> = {
  model_type: 'smollm3',
  name: 'SmolLM3',
  keys: KEYS,
  config: smollm3Config,
  decoder(config, source, report) {
    const { attention_bias: q, mlp_bias: mlp, no_rope_layers: said, no_rope_layer_interval: interval } = config;
    const turns = (layer: number) => Boolean(said ? said[layer] : (layer + 1) % interval);
    const build = {
      biases: { q, k: q, v: q, o: q, mlp },
      windowOf: windowOf(config, (layer) => !turns(layer)),
      ropeOf: (layer: number) => (turns(layer) ? 'full' : ''),
    };
    return PreNormDecoder.load(config, build, source, report);
  },
  gguf: {
    keys: GGUF_KEYS,
    /** llama.cpp knows the interval of 4 alone. */
    config: configFromGguf,
    names: ({ head_dim }) => ({ ...ggufNames(/^$/), rowOrder: interleavedHeads(head_dim) }),
  },
};

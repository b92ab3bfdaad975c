import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { RopeParameters } from '../nn';
import type { Architecture } from './architecture';
import { GEMMA_DEFAULTS, GEMMA_KEYS, type Gemma2Config, gemmaBuild, gemmaNames, layerTypes, queryScalar } from './gemma2';
import { numbersOf } from './gguf_metadata';
import type { KeyTable } from './keys';
import { PreNormDecoder, ropeOf } from './pre_norm';
import { preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, HEAD_NORMS } from './pre_norm_gguf';
import { readRope } from './rope_config';

/** Layers that see all, and those with a window, turn by rotations of their own. */
type Ropes = Record<'full_attention' | 'sliding_attention', RopeParameters>;
interface Gemma3Config extends Gemma2Config {
  rope_parameters: RopeParameters & Ropes;
  sliding_window_pattern?: number;
}

const KEYS: KeyTable = {
  ...GEMMA_KEYS,
  rope_local_base_freq: 'obeyed',
  /** Where layer_types say nothing: the last of so many layers sees all. */
  sliding_window_pattern: 'obeyed',
  _sliding_window_pattern: 'no effect',
  /** transformers has it and does not use it. */
  attn_logit_softcapping: 'no effect',
};
const ROPE_KEYS = ['rope_parameters', 'rope_scaling', 'rope_theta', 'rope_local_base_freq'];

/** Both rotations, in transformers 5's `rope_parameters` or before it; rope_scaling is of the layers that see all. */
function ropesOf(json: Record<string, unknown>, positions: number, where: string): Ropes {
  const { rope_parameters: given, rope_scaling, rope_theta, rope_local_base_freq: local } = json;
  const nested = (given ?? {}) as Partial<Ropes>;
  if (typeof given === 'object' && given && Object.keys(given).some((key) => !/^(full|sliding)_attention$/.test(key)))
    throw new FileError(`${where} sets rope_parameters to ${show(given)}: it must say them of full_attention and sliding_attention.`);
  const read = (rope: RopeParameters | undefined, more: unknown, theta: unknown, usual: number) =>
    readRope({ rope_parameters: { rope_type: 'default', ...rope, ...(more ?? {}) }, rope_theta: theta }, positions, where, {
      theta: usual,
    });
  return {
    full_attention: read(nested.full_attention, rope_scaling, rope_theta, 1_000_000),
    sliding_attention: read(nested.sliding_attention, undefined, local, 10_000),
  };
}

function gemma3Config(json: Record<string, unknown>, name: string): Gemma3Config {
  const rest = Object.fromEntries(Object.entries(json).filter(([key]) => !ROPE_KEYS.includes(key)));
  const defaults = { ...GEMMA_DEFAULTS, final_logit_softcapping: null, max_position_embeddings: 131_072 };
  const read = preNormConfig<Gemma3Config>(rest, KEYS, defaults, name, { act: 'hidden_activation' });
  const { sliding_window_pattern: pattern = 6, ...config } = read;
  const rope_parameters = ropesOf(json, config.max_position_embeddings, `The config.json of ${name}`);
  const { rope_theta } = rope_parameters.full_attention;
  return { ...config, layer_types: layerTypes(config, pattern, name), rope_theta, rope_parameters } as Gemma3Config;
}

/** Gemma 3 without images (Gemma Team, 2025, https://arxiv.org/abs/2503.19786): Gemma 2 with norms of queries and keys instead of caps, and two rotations. */
export const gemma3: Architecture<Gemma3Config> = {
  model_type: 'gemma3_text',
  name: 'Gemma3',
  classes: { ForSequenceClassification: 'Gemma3TextForSequenceClassification' },
  keys: KEYS,
  config: gemma3Config,
  decoder(config, source, report) {
    const { rope_parameters: ropes, layer_types: types } = config;
    const build = {
      ...gemmaBuild(config),
      headNorms: true,
      ropes: Object.fromEntries(Object.entries(ropes).map(([kind, rope]) => [kind, ropeOf(config, rope as RopeParameters)])),
      ropeOf: (layer: number) => types[layer],
    };
    return PreNormDecoder.load(config, build, source, report);
  },
  gguf: {
    architecture: 'gemma3',
    keys: {
      ...GGUF_KEYS,
      final_logit_softcapping: 'obeyed',
      'attention.sliding_window_pattern': 'obeyed',
      'rope.freq_base_swa': 'obeyed',
    },
    async config(gguf) {
      const get = numbersOf(gguf, 'gemma3');
      const { rope_parameters, ...config } = await configFromGguf(gguf);
      const pattern: unknown = get('attention.sliding_window_pattern') ?? 6;
      const [window, layers] = [get('attention.sliding_window') || null, config.num_hidden_layers as number];
      const type = (sees: boolean) => (sees || !window ? 'full_attention' : 'sliding_attention');
      return {
        ...config,
        model_type: 'gemma3_text',
        rope_parameters: {
          full_attention: rope_parameters,
          sliding_attention: { rope_type: 'default', rope_theta: get('rope.freq_base_swa') ?? 10_000 },
        },
        query_pre_attn_scalar: queryScalar(gguf, config, 62),
        sliding_window: window,
        // A number, or for each layer whether it has a window.
        layer_types: Array.from({ length: layers }, (_, i) =>
          type(Array.isArray(pattern) ? !pattern[i] : (i + 1) % (pattern as number) === 0),
        ),
        final_logit_softcapping: get('final_logit_softcapping') || null,
      };
    },
    names: () => gemmaNames(HEAD_NORMS),
  },
};

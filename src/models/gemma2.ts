import type { Gguf } from '../formats/gguf';
import type { Architecture } from './architecture';
import { numbersOf } from './gguf_metadata';
import type { KeyTable } from './keys';
import { checkLayerTypes, type Windows, windowOf } from './layer_types';
import { type Build, PreNormDecoder } from './pre_norm';
import { PRE_NORM_KEYS, type PreNormConfig, preNormConfig } from './pre_norm_config';
import { configFromGguf, GGUF_KEYS, ggufNames } from './pre_norm_gguf';
import type { GgufNames } from './source';

export interface Gemma2Config extends PreNormConfig {
  hidden_activation: string;
  attention_bias: boolean;
  /** Scores are divided by its root. */
  query_pre_attn_scalar: number;
  sliding_window: number | null;
  layer_types: string[];
  /** What logits and scores are kept within; null: nothing. */
  final_logit_softcapping: number | null;
  attn_logit_softcapping: number | null;
}

export const GEMMA_KEYS: KeyTable = {
  ...PRE_NORM_KEYS,
  /** Of older files; hidden_activation counts. */
  hidden_act: 'no effect',
  hidden_activation: 'obeyed',
  attention_bias: 'obeyed',
  query_pre_attn_scalar: 'obeyed',
  sliding_window: 'obeyed',
  layer_types: 'obeyed',
  final_logit_softcapping: 'obeyed',
  attn_logit_softcapping: 'obeyed',
  use_bidirectional_attention: { refused: 'tunebook has decoders, whose tokens see those before them' },
};

export const GEMMA_DEFAULTS = {
  ...{ num_key_value_heads: 4, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', tie_word_embeddings: true },
  ...{ attention_bias: false, query_pre_attn_scalar: 256, sliding_window: 4096 },
  ...{ pad_token_id: 0, eos_token_id: 1, bos_token_id: 2 },
};

/** The kinds of layers; where config.json says nothing the last of `pattern` sees all, and the others a window. */
export function layerTypes(config: Windows, pattern: number, name: string): string[] {
  checkLayerTypes(config, name);
  const kind = (_: unknown, layer: number) => ((layer + 1) % pattern ? 'sliding_attention' : 'full_attention');
  return config.layer_types ?? Array.from({ length: config.num_hidden_layers }, kind);
}

/** In what Gemma 2 and 3 differ from Llama alike. */
export const gemmaBuild = (config: Gemma2Config): Build => {
  const { attention_bias: q, hidden_activation: act } = config;
  return {
    biases: { q, k: q, v: q, o: q, mlp: false },
    windowOf: windowOf(config, () => false),
    scale: config.query_pre_attn_scalar ** -0.5,
    sandwich: true,
    gain: 1,
    act,
    embeddingScale: Math.sqrt(config.hidden_size),
    logits: { cap: config.final_logit_softcapping },
  };
};

/** llama.cpp has it not in the files: it goes by the number of layers, of which the 27B models have so many. */
export const queryScalar = (gguf: Gguf, { hidden_size, num_attention_heads, head_dim }: Record<string, unknown>, layersOf27B: number) =>
  numbersOf(gguf, gguf.metadata.get('general.architecture') as string)('block_count') === layersOf27B
    ? (hidden_size as number) / (num_attention_heads as number)
    : (head_dim as number);

/** Files have the gains of norms, and not what they are more than 1. */
export const gemmaNames = (own: [string, string][] = []): GgufNames => ({
  ...ggufNames(/^$/, [
    ['post_attention_norm', 'post_attention_layernorm'],
    ['ffn_norm', 'pre_feedforward_layernorm'],
    ['post_ffw_norm', 'post_feedforward_layernorm'],
    ...own,
  ]),
  ones: /norm\.weight$/,
});

/** Gemma 2 (Gemma Team, 2024, https://arxiv.org/abs/2408.00118): norms around both halves of a block, windows in every other, soft caps. */
export const gemma2: Architecture<Gemma2Config> = {
  model_type: 'gemma2',
  name: 'Gemma2',
  keys: GEMMA_KEYS,
  config(json, name) {
    const caps = { final_logit_softcapping: 30, attn_logit_softcapping: 50 };
    const defaults = { ...GEMMA_DEFAULTS, ...caps, max_position_embeddings: 8192 };
    const config = preNormConfig<Gemma2Config>(json, GEMMA_KEYS, defaults, name, { act: 'hidden_activation' });
    return { ...config, layer_types: layerTypes(config, 2, name) };
  },
  decoder(config, source, report) {
    const build = { ...gemmaBuild(config), cap: config.attn_logit_softcapping };
    return PreNormDecoder.load(config, build, source, report);
  },
  gguf: {
    keys: { ...GGUF_KEYS, attn_logit_softcapping: 'obeyed', final_logit_softcapping: 'obeyed' },
    async config(gguf) {
      const get = numbersOf(gguf, 'gemma2');
      const config = await configFromGguf(gguf);
      return {
        ...config,
        query_pre_attn_scalar: queryScalar(gguf, config, 46),
        sliding_window: get('attention.sliding_window'),
        attn_logit_softcapping: get('attn_logit_softcapping'),
        final_logit_softcapping: get('final_logit_softcapping'),
      };
    },
    names: () => gemmaNames(),
  },
};

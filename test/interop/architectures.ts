/** One architecture as its tests take it. A new one is a row. */
export interface ArchitectureCase {
  /** Settings beside those of `BASE`: logits here and in transformers, with a cache, saved and opened there; the last learns with LoRA. */
  configs: Record<string, unknown>[];
  /** Metadata and tensors of GGUF files beside the usual, and the settings of the models in them; general.architecture is the model_type. */
  ggufs?: { config: Record<string, unknown>; meta?: Record<string, unknown>; arch?: string; add?: Record<string, number[]> }[];
}

export const BASE = {
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 48,
  vocab_size: 264,
  max_position_embeddings: 128,
};

const rope = (rope_parameters: object) => ({ num_key_value_heads: 2, rope_parameters: { rope_theta: 10000, ...rope_parameters } });
const factors = { short_factor: [1, 1.1, 1.2, 2], long_factor: [1, 2, 3, 4] };

const multipliers = { embedding_multiplier: 12, residual_multiplier: 0.22, attention_multiplier: 0.015625, logits_scaling: 8 };
/** Whose usual ones are beyond a small vocabulary. */
const special = { bos_token_id: 1, eos_token_id: 2, pad_token_id: null };
const gemma = { pad_token_id: 0, bos_token_id: 1, eos_token_id: 2, head_dim: 12, sliding_window: 3, query_pre_attn_scalar: 20 };
const undropped = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, bos_token_id: 1, eos_token_id: 2 };

/** By model_type. */
export const ARCHITECTURES: Record<string, ArchitectureCase> = {
  llama: {
    configs: [
      { num_key_value_heads: 2, tie_word_embeddings: true },
      { num_key_value_heads: 1, tie_word_embeddings: false, rope_parameters: { rope_type: 'default', rope_theta: 500000 } },
      rope({ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 }),
      rope({ rope_type: 'linear', factor: 4 }),
      rope({ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 }),
      rope({
        ...{ rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 },
        ...{ beta_fast: 8, truncate: false, mscale: 0.7, mscale_all_dim: 0.5 },
      }),
      rope({ rope_type: 'longrope', factor: 4, original_max_position_embeddings: 32, ...factors }),
      rope({ rope_type: 'longrope', factor: 32, original_max_position_embeddings: 4, ...factors }),
      rope({ rope_type: 'dynamic', factor: 2 }),
      { ...rope({ rope_type: 'dynamic', factor: 2 }), max_position_embeddings: 5 },
      { num_key_value_heads: 4, tie_word_embeddings: false, attention_bias: true, mlp_bias: true, head_dim: 16 },
    ],
    ggufs: [{ config: { num_key_value_heads: 2, tie_word_embeddings: true } }],
  },
  mistral: {
    configs: [
      { num_key_value_heads: 1, sliding_window: null, head_dim: 12 },
      { num_key_value_heads: 2, sliding_window: 3 },
    ],
    ggufs: [
      { config: { num_key_value_heads: 2, sliding_window: 3 }, arch: 'llama', meta: { 'llama.attention.sliding_window': 3 } },
      { config: { num_key_value_heads: 2, sliding_window: 3 }, meta: { 'mistral.attention.sliding_window': 3 } },
    ],
  },
  qwen2: {
    configs: [
      { num_key_value_heads: 2, tie_word_embeddings: true },
      { num_key_value_heads: 4, layer_types: ['sliding_attention', 'full_attention'], use_sliding_window: true, sliding_window: 4 },
      { num_key_value_heads: 2, use_sliding_window: false, sliding_window: 3, max_window_layers: 0 },
      { num_key_value_heads: 2, tie_word_embeddings: false, use_sliding_window: true, sliding_window: 3, max_window_layers: 1 },
    ],
    ggufs: [
      { config: { num_key_value_heads: 2, tie_word_embeddings: true } },
      { config: { num_key_value_heads: 4, tie_word_embeddings: false } },
    ],
  },
  qwen3: {
    configs: [
      { num_key_value_heads: 4, head_dim: 8, tie_word_embeddings: false, attention_bias: true },
      { num_key_value_heads: 1, head_dim: 16, use_sliding_window: true, sliding_window: 3, max_window_layers: 1 },
      { num_key_value_heads: 2, head_dim: 12, tie_word_embeddings: true },
    ],
    ggufs: [{ config: { num_key_value_heads: 2, head_dim: 12, tie_word_embeddings: true } }],
  },
  granite: {
    configs: [
      { num_key_value_heads: 4, tie_word_embeddings: false, mlp_bias: true, attention_bias: true, residual_multiplier: 0.5 },
      { num_key_value_heads: 1, embedding_multiplier: 3, attention_multiplier: 0.3 },
      { num_key_value_heads: 2, tie_word_embeddings: true, ...multipliers },
    ],
    ggufs: [
      {
        config: { num_key_value_heads: 2, tie_word_embeddings: true, ...multipliers },
        meta: {
          ...{ 'granite.embedding_scale': 12, 'granite.residual_scale': 0.22 },
          ...{ 'granite.attention.scale': 0.015625, 'granite.logit_scale': 8 },
        },
      },
    ],
  },
  smollm3: {
    configs: [
      { ...special, num_key_value_heads: 4, tie_word_embeddings: false, no_rope_layers: [0, 1], attention_bias: true },
      { ...special, num_key_value_heads: 1, no_rope_layer_interval: 2, use_sliding_window: true, sliding_window: 3 },
      { ...special, num_key_value_heads: 2, num_hidden_layers: 4, tie_word_embeddings: true },
    ],
    ggufs: [{ config: { ...special, num_key_value_heads: 2, num_hidden_layers: 4, tie_word_embeddings: true } }],
  },
  phi3: {
    configs: [
      { ...special, num_key_value_heads: 4, tie_word_embeddings: true, sliding_window: 3 },
      { ...special, original_max_position_embeddings: 4, ...rope({ rope_type: 'longrope', ...factors }) },
      { ...special, original_max_position_embeddings: 64, ...rope({ rope_type: 'longrope', ...factors }) },
      { ...special, num_key_value_heads: 1, rope_parameters: { rope_type: 'default', rope_theta: 500, partial_rotary_factor: 0.5 } },
    ],
    ggufs: [
      { config: { ...special, num_key_value_heads: 2 } },
      { config: { ...special, num_key_value_heads: 4, sliding_window: 3 }, meta: { 'phi3.attention.sliding_window': 3 } },
      {
        config: {
          ...{ ...special, num_key_value_heads: 2, original_max_position_embeddings: 64 },
          ...rope({ rope_type: 'longrope', partial_rotary_factor: 0.5, short_factor: [1, 1.5], long_factor: [2, 3] }),
        },
        meta: {
          ...{ 'phi3.rope.scaling.original_context_length': 64, 'phi3.rope.dimension_count': 4 },
          'phi3.rope.scaling.attn_factor': Math.sqrt(1 + Math.log(2) / Math.log(64)),
        },
        add: { 'rope_factors_short.weight': [1, 1.5], 'rope_factors_long.weight': [2, 3] },
      },
    ],
  },
  gemma2: {
    configs: [
      { ...gemma, num_key_value_heads: 4, tie_word_embeddings: false, final_logit_softcapping: null, attention_bias: true },
      { ...gemma, num_key_value_heads: 1, attn_logit_softcapping: null, layer_types: ['full_attention', 'sliding_attention'] },
      { ...gemma, num_key_value_heads: 2, final_logit_softcapping: 0.4, attn_logit_softcapping: 0.3 },
    ],
    ggufs: [
      {
        config: { ...gemma, num_key_value_heads: 2, query_pre_attn_scalar: 12, final_logit_softcapping: 3.5, attn_logit_softcapping: 2.5 },
        meta: {
          ...{ 'gemma2.attention.sliding_window': 3, 'gemma2.final_logit_softcapping': 3.5 },
          'gemma2.attn_logit_softcapping': 2.5,
        },
      },
    ],
  },
  gemma3_text: {
    configs: [
      { ...gemma, num_key_value_heads: 4, tie_word_embeddings: false, num_hidden_layers: 6, final_logit_softcapping: 0.5 },
      {
        ...{ ...gemma, num_key_value_heads: 1, layer_types: ['full_attention', 'sliding_attention'] },
        rope_parameters: {
          full_attention: { rope_type: 'linear', factor: 8, rope_theta: 5000 },
          sliding_attention: { rope_type: 'default', rope_theta: 100 },
        },
      },
      { ...gemma, num_key_value_heads: 2, num_hidden_layers: 3, layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'] },
    ],
    ggufs: [
      {
        arch: 'gemma3',
        config: {
          ...{ ...gemma, num_key_value_heads: 2, query_pre_attn_scalar: 12, num_hidden_layers: 7 },
          rope_parameters: {
            full_attention: { rope_type: 'linear', factor: 8, rope_theta: 5000 },
            sliding_attention: { rope_type: 'default', rope_theta: 10000 },
          },
        },
        meta: { 'gemma3.attention.sliding_window': 3, 'gemma3.rope.scaling.type': 'linear', 'gemma3.rope.scaling.factor': 8 },
      },
    ],
  },
  gpt2: {
    configs: [
      { ...undropped, n_inner: 40, tie_word_embeddings: false, activation_function: 'relu', scale_attn_weights: false },
      { ...undropped, num_attention_heads: 2, scale_attn_by_inverse_layer_idx: true, activation_function: 'gelu' },
      { ...undropped },
    ],
    ggufs: [{ config: undropped }, { config: { ...undropped, n_inner: 40, tie_word_embeddings: false } }],
  },
};

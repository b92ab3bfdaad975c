import { join } from 'node:path';
import { expect, it } from 'vitest';
import { on } from '../../src/core/events';
import * as tf from '../../src/engine/tf';
import { GENERATION_KEYS } from '../../src/generate/generation_fields';
import { AutoModelForCausalLM } from '../../src/index';
import { ARCHITECTURES } from '../../src/models/loading';
import { GGUF_KEYS, ggufNames } from '../../src/models/pre_norm_gguf';
import { ACTIVATIONS } from '../../src/nn';
import { peer } from '../peer';
import { scratch } from '../tiny';

const script = 'peer_models.py';
const ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
const base = {
  model_type: 'llama',
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 48,
  vocab_size: 64,
  max_position_embeddings: 128,
  tie_word_embeddings: false,
};

interface Known {
  configs: Record<string, string[]>;
  activations: string[];
  generation: string[];
  gguf: string[];
  tensors: string[];
}

/** Class attributes of Python's configuration classes that are no settings, and properties that hold what others set. */
const NO_SETTINGS = [
  ...['_attn_implementation', '_auto_class', '_experts_implementation', 'allow_global_per_layer_attribute_access', 'attribute_map'],
  ...['base_config_key', 'base_model_ep_plan', 'base_model_fsdp_plan', 'base_model_pp_plan', 'base_model_tp_plan', 'default_rope_type'],
  ...['default_theta', 'extra_config_files', 'extra_files', 'ignore_keys_at_rope_validation', 'is_heterogeneous', 'per_layer_attributes'],
  ...['serialize_explicit_per_layer_config', 'sub_configs', 'sub_configs_defaults'],
];

/** Metadata of llama.cpp's other architectures: refused by name where a file sets it. */
const REFUSED_IN_GGUF = [
  ...['activation_sparsity_scale', 'altup.active_idx', 'altup.num_inputs', 'attention.clamp_kqv', 'attention.decay_lora_rank'],
  ...['attention.gate_lora_rank', 'attention.group_norm_epsilon', 'attention.group_norm_groups', 'attention.iclr_lora_rank'],
  ...['attention.indexer.head_count', 'attention.indexer.key_length', 'attention.indexer.top_k', 'attention.key_length_mla'],
  ...['attention.key_length_swa', 'attention.kv_lora_rank', 'attention.layer_norm_epsilon', 'attention.max_alibi_bias'],
  ...['attention.output_scale', 'attention.q_lora_rank', 'attention.relative_buckets_count', 'attention.scale'],
  ...['attention.shared_kv_layers', 'attention.sliding_window_pattern', 'attention.temperature_length', 'attention.temperature_scale'],
  ...['attention.value_length_mla', 'attention.value_length_swa', 'attention.value_residual_mix_lora_rank', 'attn_logit_softcapping'],
  ...['classifier.output_labels', 'convnext.block_count', 'convnext.embedding_length', 'decoder_block_count', 'decoder_start_token_id'],
  ...['embedding_length_out', 'embedding_length_per_layer_input', 'expert_chunk_feed_forward_length', 'expert_count'],
  ...['expert_feed_forward_length', 'expert_gating_func', 'expert_group_count', 'expert_group_scale', 'expert_group_used_count'],
  ...['expert_shared_count', 'expert_shared_feed_forward_length', 'expert_weights_norm', 'expert_weights_scale', 'experts_per_group'],
  ...['features_length', 'final_logit_softcapping', 'full_attention_interval', 'interleave_moe_layer_step', 'kda.head_dim'],
  ...['leading_dense_block_count', 'moe_every_n_layers', 'moe_latent_size', 'n_deepstack_layers', 'nextn_predict_layers'],
  ...['pooling_type', 'posnet.block_count', 'posnet.embedding_length', 'rescale_every_n_layers', 'rope.dimension_count_swa'],
  ...['rope.dimension_sections', 'rope.freq_base_swa', 'rope.scaling.alpha', 'router_logit_softcapping', 'shortconv.l_cache'],
  ...['ssm.conv_kernel', 'ssm.dt_b_c_rms', 'ssm.group_count', 'ssm.inner_size', 'ssm.state_size', 'ssm.time_step_rank'],
  ...['swiglu_clamp_exp', 'swiglu_clamp_shexp', 'swin_norm', 'time_decay_extra_dim', 'time_mix_extra_dim', 'token_shift_count'],
  ...['use_parallel_residual', 'wkv.head_size', '{dense}_feat_in', '{dense}_feat_out'],
];

it('each setting that transformers and the gguf package know is obeyed, refused or known to be without effect', () => {
  const known = peer<Known>('keys', { types: Object.keys(ARCHITECTURES) }, script);
  for (const [type, names] of Object.entries(known.configs)) {
    const settings = names.filter((name) => !NO_SETTINGS.includes(name));
    expect(
      settings.filter((name) => !Object.hasOwn(ARCHITECTURES[type].keys, name)),
      `new settings of ${type}`,
    ).toEqual([]);
  }
  expect(known.activations.filter((name) => !Object.hasOwn(ACTIVATIONS, name))).toEqual(['prelu', 'xielu']); // they have weights of their own
  const placed = ggufNames().tensors.map(([name]) => name.replace('{}', '{bid}').replace(/\.\w+$/, ''));
  const others = known.tensors.filter((name) => !placed.includes(name));
  // factors of frequencies, frequencies that follow, and experts, which are refused
  expect(others).toEqual([
    'rope_freqs',
    ...['attn_rot_embd', 'ffn_gate_inp', 'ffn_gate_exps', 'ffn_down_exps', 'ffn_up_exps'].map((n) => `blk.{bid}.${n}`),
  ]);
  expect(known.generation.filter((name) => !Object.hasOwn(GENERATION_KEYS, name))).toEqual([]);
  const own = known.gguf.filter((key) => key.startsWith('{arch}.')).map((key) => key.slice(7));
  expect(own.filter((key) => !Object.hasOwn(GGUF_KEYS, key)).sort()).toEqual([...REFUSED_IN_GGUF].sort());
});

/** Our logits of a model's files, or the error. */
async function ours(at: string): Promise<{ logits?: Float32Array; error?: string; config?: Record<string, unknown> }> {
  try {
    const model = await AutoModelForCausalLM.from_pretrained(at, { progress: false });
    const logits = tf.tidy(() => model.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).dataSync() as Float32Array);
    model.dispose();
    return { logits, config: model.config };
  } catch (error) {
    return { error: (error as Error).message };
  }
}
const worst = (a: number[], b: ArrayLike<number>) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

interface FolderCase {
  what: string;
  config?: object;
  /** Written into config.json beside what transformers saved. */
  json?: Record<string, unknown>;
  without?: string[];
  tensors?: unknown[][];
  pickled?: boolean;
  shards?: { missing?: string[]; unlisted?: string[]; whole?: boolean };
  /** What our error says, where it is one here. */
  refused?: RegExp;
  /** What a warning says. */
  warns?: RegExp;
}

const rope = { rope_type: 'yarn', rope_theta: 10000, factor: 4, original_max_position_embeddings: 8 };
const FOLDERS: FolderCase[] = [
  ...Object.keys(ACTIVATIONS).map((act) => ({ what: `hidden_act ${act}`, config: { hidden_act: act } })),
  { what: 'an activation with weights', json: { hidden_act: 'xielu' }, refused: /hidden_act to 'xielu'.*it has silu/ },
  // settings at null, which stand for a default
  { what: 'num_key_value_heads null', config: { num_key_value_heads: 4 }, json: { num_key_value_heads: null } },
  { what: 'num_key_value_heads left out', config: { num_key_value_heads: 4 }, without: ['num_key_value_heads'] },
  { what: 'head_dim null', json: { head_dim: null } },
  {
    what: 'rope and tokens null',
    json: { rope_parameters: null, rope_scaling: null, pad_token_id: null, bos_token_id: null, eos_token_id: null },
  },
  { what: 'a list of end tokens', json: { eos_token_id: [2, 5] } },
  { what: 'sliding_window null', config: { model_type: 'mistral', sliding_window: null } },
  { what: 'sliding_window left out', config: { model_type: 'mistral', sliding_window: 4096 }, without: ['sliding_window'] },
  {
    what: 'types of too few layers',
    config: { model_type: 'qwen2' },
    json: { layer_types: ['full_attention'] },
    refused: /for each of 2 layers/,
  },
  {
    what: 'layers with a window that is none',
    config: { model_type: 'qwen2' },
    json: { layer_types: ['full_attention', 'sliding_attention'] },
    refused: /use_sliding_window and sliding_window give them no window/,
  },
  { what: 'sliding_window 4', config: { model_type: 'mistral', sliding_window: 4 } },
  {
    what: 'mistral, num_key_value_heads left out',
    config: { model_type: 'mistral', hidden_size: 64, num_attention_heads: 16, num_key_value_heads: 8 },
    without: ['num_key_value_heads'],
  },
  // old and new spellings of the rope, and which of them counts
  { what: 'rope_scaling with type', json: { rope_scaling: { type: 'linear', factor: 4 }, rope_theta: 5000 }, without: ['rope_parameters'] },
  {
    what: 'rope_scaling beside rope_parameters',
    json: { rope_scaling: { rope_type: 'linear', factor: 4 }, rope_parameters: { rope_type: 'default', rope_theta: 500 } },
  },
  { what: 'two bases', json: { rope_theta: 77, rope_parameters: { rope_type: 'default', rope_theta: 500 } } },
  { what: 'one base, old', json: { rope_theta: 77, rope_parameters: { rope_type: 'default' } } },
  { what: 'an original length beside the rope', json: { rope_parameters: rope, original_max_position_embeddings: 64 } },
  { what: 'no original length', json: { rope_parameters: { rope_type: 'yarn', rope_theta: 10000, factor: 4 } } },
  {
    what: 'an original length that a kind does not have',
    json: { rope_parameters: { rope_type: 'linear', factor: 2 }, original_max_position_embeddings: 64 },
  },
  {
    what: 'a rope for each kind of layer',
    json: { rope_parameters: { full_attention: { rope_type: 'default' } } },
    refused: /rope of its own for full_attention/,
  },
  { what: 'a part of each head', json: { partial_rotary_factor: 0.5 }, refused: /partial_rotary_factor to 0.5.*all dimensions of a head/ },
  { what: 'an unknown rope', json: { rope_parameters: { rope_type: 'swirl', rope_theta: 1 } }, refused: /rope_type swirl/ },
  // what transformers' own configurations have beside these
  {
    what: 'packed weights',
    json: { quantization_config: { quant_method: 'gptq', bits: 4 } },
    refused: /quantization_config to .*gptq.*16-bit files/,
  },
  { what: 'layers of their own sizes', json: { per_layer_config: { 0: { hidden_act: 'relu' } } }, refused: /per_layer_config/ },
  { what: 'dropped attention weights', json: { attention_dropout: 0.3 }, warns: /attention_dropout to 0.3/ },
  { what: 'code of its own', json: { auto_map: { AutoModelForCausalLM: 'modeling.X' } }, warns: /auto_map.*never run/ },
  {
    what: 'a key of another architecture',
    json: { logit_scale: 0.1, num_experts: 8, rope_interleaved: false },
    warns: /ignored: logit_scale \(0.1\), num_experts \(8\)/,
  },
  { what: "Mistral's window on a Llama", json: { sliding_window: 3 }, warns: /ignored: sliding_window \(3\)/ },
  {
    what: "Llama's biases on a Mistral",
    config: { model_type: 'mistral' },
    json: { attention_bias: true },
    warns: /ignored: attention_bias/,
  },
  { what: 'settings of no effect', json: { pretraining_tp: 2, use_cache: false, torch_dtype: 'float16', initializer_range: 0.5 } },
  // output matrix and embedding table
  {
    what: 'tied, and a different head',
    config: { tie_word_embeddings: true },
    tensors: [['random', 'lm_head.weight', [64, 32]]],
    warns: /differ in the file, so they are not tied/,
  },
  {
    what: 'tied, and the same head',
    config: { tie_word_embeddings: true },
    tensors: [['copy', 'model.embed_tokens.weight', 'lm_head.weight']],
  },
  {
    what: 'tied, and only the head',
    config: { tie_word_embeddings: true },
    tensors: [['rename', 'model.embed_tokens.weight', 'lm_head.weight']],
  },
  { what: 'tied, and no prefix', config: { tie_word_embeddings: true }, tensors: [['rename', 'model.', '']] },
  { what: 'not tied, and no head', tensors: [['drop', 'lm_head']], refused: /no tensor lm_head.weight/ },
  // names
  { what: 'no prefix', tensors: [['rename', 'model.', '']] },
  {
    what: 'the prefix twice',
    tensors: [
      ['rename', 'model.', 'model.model.'],
      ['rename', 'lm_head', 'model.lm_head'],
    ],
  },
  {
    what: 'another prefix',
    tensors: [['rename', 'model.', 'transformer.']],
    refused: /no tensor model.embed_tokens.weight.*called lm_head.weight, transformer\./,
  },
  { what: 'a model inside another', tensors: [['rename', 'model.', 'language_model.model.']], refused: /language_model\.model\./ },
  {
    what: 'tensors of no place',
    tensors: [
      ['random', 'model.layers.0.self_attn.q_norm.weight', [8]],
      ['random', 'model.layers.7.mlp.up_proj.weight', [48, 32]],
    ],
    warns: /2 tensors.*ignored: model.layers.0.self_attn.q_norm/,
  },
  { what: 'biases that config.json does not have', config: { attention_bias: true }, json: { attention_bias: false }, warns: /8 tensors/ },
  { what: 'old buffers', tensors: [['random', 'model.layers.0.self_attn.rotary_emb.inv_freq', [4]]] },
  { what: 'a missing tensor', tensors: [['drop', 'model.layers.1.mlp.up_proj']], refused: /no tensor model.layers.1.mlp.up_proj.weight/ },
  {
    what: 'more words than the table has',
    json: { vocab_size: 70 },
    refused: /embed_tokens.weight is \[64,32\], but config.json asks for \[70,32\]/,
  },
  {
    what: 'a wrong shape',
    tensors: [
      ['drop', 'model.norm.weight'],
      ['random', 'model.norm.weight', [33]],
    ],
    refused: /model.norm.weight is \[33\]/,
  },
  // files
  { what: 'shards', shards: {} },
  { what: 'a stale index beside a whole file', shards: { whole: true, missing: ['a.safetensors', 'b.safetensors'] } },
  { what: 'an index that is silent about a tensor', shards: { unlisted: ['model.norm.weight'] } },
  { what: 'a missing shard', shards: { missing: ['b.safetensors'] }, refused: /no b.safetensors: it is not a whole model/ },
  {
    what: 'weights that are code',
    pickled: true,
    refused: /pytorch_model.bin: reading a PyTorch pickle runs whatever code it holds.*save_pretrained/,
  },
  { what: 'weights by a name of their own', json: { transformers_weights: 'model.safetensors' } },
];

it('what stands in a folder is obeyed as in transformers, or named', async () => {
  const cases = FOLDERS.map((c) => ({
    ...c,
    refused: undefined,
    warns: undefined,
    ids,
    folder: scratch('folder'),
    config: { ...base, ...c.config },
  }));
  const theirs = peer<{ logits?: number[]; error?: string }[]>('folders', { cases }, script);
  const said: string[] = [];
  const off = on('warning', ({ text }) => said.push(text));
  try {
    for (const [i, { what, refused, warns }] of FOLDERS.entries()) {
      said.length = 0;
      const { logits, error } = await ours(cases[i].folder);
      if (refused) {
        expect(error, what).toMatch(refused);
        continue;
      }
      expect(theirs[i].error, what).toBeUndefined();
      expect(error, what).toBeUndefined();
      expect(worst(theirs[i].logits as number[], logits as Float32Array), what).toBeLessThan(1e-4);
      expect(said.join('\n'), what).toMatch(warns ?? /^$/);
    }
  } finally {
    off();
  }
});

interface GgufCase {
  what: string;
  config?: object;
  arch?: string;
  meta?: Record<string, unknown>;
  add?: Record<string, unknown>;
  skip?: string[];
  llama3?: boolean;
  /** Metadata that is not written. */
  omit?: string[];
  refused?: RegExp;
  warns?: RegExp;
  /** What the configuration says of the rope. */
  rope?: object;
}

const scaling = (given: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(given).map(([key, v]) => [`llama.rope.scaling.${key}`, v]));
const mscale = (scale: number, factor = 4) => 0.1 * scale * Math.log(factor) + 1;
const long = { rope_type: 'longrope', rope_theta: 10000, short_factor: [1, 1.5, 2, 3], long_factor: [1, 2, 3, 4], attention_factor: 1.2 };
const llama3 = {
  rope_type: 'llama3',
  rope_theta: 500000,
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};
const GGUFS: GgufCase[] = [
  { what: 'plain' },
  {
    what: 'no more metadata than there must be',
    omit: [
      ...['vocab_size', 'context_length', 'attention.key_length', 'attention.value_length', 'rope.freq_base', 'rope.dimension_count'],
    ].map((key) => `llama.${key}`),
  },
  { what: 'as many key/value heads as heads', config: { num_key_value_heads: 4 }, omit: ['llama.attention.head_count_kv'] },
  { what: 'no size', omit: ['llama.embedding_length'], refused: /hidden_size must be a whole number above 0/ },
  { what: 'tied', config: { tie_word_embeddings: true } },
  { what: "transformers' name of Mistral", arch: 'mistral', config: { model_type: 'mistral', sliding_window: 4096 } },
  { what: 'heads of their own size', config: { head_dim: 16 } },
  { what: 'attention biases', config: { attention_bias: true } },
  { what: 'attention biases but for the output', config: { attention_bias: true }, skip: ['o_proj.bias'] },
  { what: 'biases of the feed-forward half', config: { mlp_bias: true } },
  { what: 'all biases', config: { mlp_bias: true, attention_bias: true, num_key_value_heads: 4 } },
  { what: 'a window', config: { model_type: 'mistral', sliding_window: 4 }, meta: { 'llama.attention.sliding_window': 4 } },
  {
    what: 'a window and biases',
    config: { attention_bias: true },
    meta: { 'llama.attention.sliding_window': 4 },
    refused: /attention.sliding_window to 4: .*biases/,
  },
  {
    what: 'a window that llama.cpp does not have',
    arch: 'qwen2',
    config: { model_type: 'qwen2' },
    meta: { 'qwen2.attention.sliding_window': 4 },
    refused: /attention.sliding_window to 4: llama.cpp has no windows/,
  },
  {
    what: 'a bias that Qwen2 does not have',
    arch: 'qwen2',
    config: { model_type: 'qwen2' },
    add: { 'blk.0.attn_output.bias': Array(32).fill(1) },
    refused: /no place for.*blk.0.attn_output.bias/,
  },
  { what: "Llama 3.1's factors", config: { rope_parameters: llama3 }, llama3: true, rope: llama3 },
  {
    what: "factors by Meta's rule for another length",
    config: { rope_parameters: { ...llama3, original_max_position_embeddings: 32 } },
    llama3: true,
  },
  {
    what: 'any factors',
    config: { rope_parameters: { ...long, long_factor: long.short_factor, attention_factor: 1 } },
    add: { 'rope_freqs.weight': long.short_factor },
  },
  { what: 'factors of 1', add: { 'rope_freqs.weight': [1, 1, 1, 1] } },
  {
    what: 'factors and a scaling',
    add: { 'rope_freqs.weight': long.short_factor },
    meta: scaling({ type: 'linear', factor: 2.5 }),
    refused: /both rope_freqs.weight and rope.scaling/,
  },
  {
    what: 'linear scaling',
    config: { rope_parameters: { rope_type: 'linear', rope_theta: 10000, factor: 4 } },
    meta: scaling({ type: 'linear', factor: 4, finetuned: true }),
  },
  {
    what: 'linear scaling, old',
    config: { rope_parameters: { rope_type: 'linear', rope_theta: 10000, factor: 2.5 } },
    meta: { 'llama.rope.scale_linear': 2.5 },
  },
  { what: 'no scaling, whatever the factor', meta: scaling({ type: 'none', factor: 2.5 }) },
  {
    what: 'YaRN',
    config: { rope_parameters: { ...rope, original_max_position_embeddings: 32 } },
    meta: scaling({ type: 'yarn', factor: 4, original_context_length: 32 }),
  },
  {
    what: 'YaRN with all its settings',
    config: { rope_parameters: { ...rope, beta_fast: 8, beta_slow: 2, attention_factor: 1.3 * mscale(1) } },
    meta: scaling({
      type: 'yarn',
      factor: 4,
      original_context_length: 8,
      yarn_beta_fast: 8,
      yarn_beta_slow: 2,
      attn_factor: 1.3,
    }),
  },
  {
    what: "YaRN with DeepSeek's factor",
    config: { rope_parameters: { ...rope, mscale: 1, mscale_all_dim: 0.7 } },
    meta: scaling({ type: 'yarn', factor: 4, original_context_length: 8, yarn_log_multiplier: 0.7 }),
  },
  {
    what: 'YaRN, but not all the way',
    meta: scaling({ type: 'yarn', factor: 2.5, yarn_ext_factor: 0.5 }),
    refused: /rope.scaling.yarn_ext_factor to 0.5/,
  },
  {
    what: 'longrope, longer than the original length',
    config: { rope_parameters: { ...long, original_max_position_embeddings: 8 } },
    meta: scaling({ type: 'longrope', original_context_length: 8, attn_factor: 1.2 }),
    add: { 'rope_factors_short.weight': long.short_factor, 'rope_factors_long.weight': long.long_factor },
  },
  {
    what: 'longrope within it',
    config: { rope_parameters: { ...long, original_max_position_embeddings: 64 } },
    meta: scaling({ type: 'longrope', original_context_length: 64, attn_factor: 1.2 }),
    add: { 'rope_factors_short.weight': long.short_factor, 'rope_factors_long.weight': long.long_factor },
  },
  { what: 'longrope without factors', meta: scaling({ type: 'longrope' }), refused: /no rope_factors_short.weight/ },
  {
    what: 'factors of longrope alone',
    add: { 'rope_factors_long.weight': long.long_factor },
    refused: /rope_factors_short.weight, but its rope.scaling.type is 'linear'/,
  },
  { what: 'an unknown scaling', meta: scaling({ type: 'ntk', factor: 2.5 }), refused: /rope.scaling.type to 'ntk'/ },
  {
    what: 'a factor for cosines alone',
    meta: scaling({ type: 'linear', factor: 2.5, attn_factor: 1.5 }),
    refused: /rope.scaling.attn_factor to 1.5/,
  },
  { what: 'a part of each head', meta: { 'llama.rope.dimension_count': 4 }, refused: /rope.dimension_count to 4.*have 8 dimensions/ },
  { what: 'values of another size', meta: { 'llama.attention.value_length': 4 }, refused: /attention.value_length to 4/ },
  { what: 'no causal mask', meta: { 'llama.attention.causal': false }, refused: /attention.causal to false/ },
  {
    what: 'off, or 1',
    meta: { 'llama.logit_scale': 1, 'llama.expert_count': 0, 'llama.expert_used_count': 0, 'llama.pooling_type': 0 },
  },
  ...['logit_scale', 'attention.scale', 'residual_scale', 'embedding_scale', 'attention.clamp_kqv', 'final_logit_softcapping'].map(
    (key) => ({
      what: key,
      meta: { [`llama.${key}`]: 0.25 },
      refused: new RegExp(`llama\\.${key}|${key} to 0.25`),
    }),
  ),
  { what: 'experts', meta: { 'llama.expert_count': 8 }, refused: /llama.expert_count to 8/ },
  { what: 'a setting of the future', meta: { 'llama.swirl': 'left' }, refused: /llama.swirl to 'left'/ },
  { what: 'a part of a model', meta: { 'split.count': 3 }, refused: /one of 3 parts of a model/ },
  { what: 'an adapter', meta: { 'general.type': 'adapter' }, refused: /general.type to 'adapter': a model is expected/ },
  {
    what: 'somebody’s own notes',
    meta: { 'general.name': 'x', 'quantize.imatrix.file': 'y', 'mine.note': 'z' },
    warns: /ignored: mine.note/,
  },
  ...[
    'blk.0.attn_qkv.weight',
    'blk.0.attn_q_norm.weight',
    'blk.1.ffn_gate_inp.weight',
    'output_norm.bias',
    'output.bias',
    'blk.2.ffn_up.weight',
  ].map((name) => ({
    what: name,
    add: { [name]: [1, 2, 3, 4] },
    refused: new RegExp(`1 tensors that tunebook has no place for.*${name.replaceAll('.', '\\.')}`),
  })),
  { what: 'frequencies that follow', add: { 'blk.0.attn_rot_embd.weight': [1, 2, 3, 4] } },
];

it('what stands in a GGUF file is obeyed as llama.cpp means it, or refused by name', async () => {
  const cases = GGUFS.map(({ refused: _, warns: __, rope: ___, ...c }) => ({
    ...c,
    ids,
    file: join(scratch('gguf'), 'm.gguf'),
    config: { ...base, ...c.config },
  }));
  const theirs = peer<number[][]>('ggufs', { cases }, script);
  const said: string[] = [];
  const off = on('warning', ({ text }) => said.push(text));
  try {
    for (const [i, { what, refused, warns, rope: wanted }] of GGUFS.entries()) {
      said.length = 0;
      const { logits, error, config } = await ours(cases[i].file);
      expect(error ?? '', what).toMatch(refused ?? /^$/);
      if (refused) continue;
      expect(worst(theirs[i], logits as Float32Array), what).toBeLessThan(1e-4);
      expect(said.join('\n'), what).toMatch(warns ?? /^$/);
      if (wanted) expect(config?.rope_parameters).toEqual(wanted);
    }
  } finally {
    off();
  }
});

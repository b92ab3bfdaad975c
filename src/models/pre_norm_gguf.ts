import { FileError } from '../core/errors';
import { show } from '../core/options';
import type { Gguf } from '../formats/gguf';
import { numbersOf, tokenIds } from './gguf_metadata';
import { ropeOfGguf } from './gguf_rope';
import type { KeyTable } from './keys';
import type { GgufNames } from './source';

const many = (use: KeyTable[string], ...names: string[]): KeyTable => Object.fromEntries(names.map((name) => [name, use]));

/**
 * Metadata keys of llama.cpp's architectures built like Llama, without their names before them. Whatever stands in a file and not here is refused
 * unless it is off: a key of llama.cpp exists because it changes what is computed.
 */
export const GGUF_KEYS: KeyTable = {
  ...many('obeyed', 'vocab_size', 'context_length', 'embedding_length', 'block_count', 'feed_forward_length', 'rope.dimension_count'),
  ...many('obeyed', 'attention.head_count', 'attention.head_count_kv', 'attention.key_length', 'attention.value_length'),
  ...many('obeyed', 'attention.layer_norm_rms_epsilon', 'attention.sliding_window', 'rope.freq_base', 'rope.scale_linear'),
  ...many('obeyed', 'rope.scaling.type', 'rope.scaling.factor', 'rope.scaling.original_context_length', 'rope.scaling.attn_factor'),
  ...many('obeyed', 'rope.scaling.yarn_beta_fast', 'rope.scaling.yarn_beta_slow', 'rope.scaling.yarn_log_multiplier'),
  /** Whether the model was trained with its scaling: a note. */
  'rope.scaling.finetuned': 'no effect',
  /** Without experts. */
  expert_used_count: 'no effect',
  'attention.causal': 'obeyed',
  tensor_data_layout: { refused: 'tunebook knows the rows of q and k in one order only', unless: ['Meta AI original pth'] },
  ...many({ refused: 'tunebook multiplies by 1 there', unless: [1] }, 'logit_scale', 'residual_scale', 'embedding_scale'),
  'rope.scaling.yarn_attn_factor': { refused: 'tunebook multiplies by 1 there', unless: [1] },
  'rope.scaling.yarn_ext_factor': { refused: 'tunebook interpolates as YaRN does', unless: [1, -1] },
};

type Names = [gguf: string, name: string][];
const NAMES: Names = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
];
/** Of a block. */
const BLOCK: Names = [
  ['attn_norm', 'input_layernorm'],
  ['ffn_norm', 'post_attention_layernorm'],
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
];
export const HEAD_NORMS: Names = [
  ['attn_q_norm', 'self_attn.q_norm'],
  ['attn_k_norm', 'self_attn.k_norm'],
];

/** Whether any matrix of one half of the blocks has a bias. */
export const biasedIn = (gguf: Gguf, part: 'attn' | 'ffn'): boolean =>
  [...gguf.tensors.keys()].some((name) => new RegExp(`^blk\\.\\d+\\.${part}_(?!norm)\\w+\\.bias$`).test(name));

const architectureOf = (gguf: Gguf) => gguf.metadata.get('general.architecture') as string;
const refuse = (gguf: Gguf, key: string, why: string) => {
  const value = numbersOf(gguf, architectureOf(gguf))(key);
  return new FileError(`${gguf.path} sets ${architectureOf(gguf)}.${key} to ${show(value)}: ${why}.`);
};

/** The window of all layers, where there is one. */
export function windowIn(gguf: Gguf): number | undefined {
  const window = numbersOf(gguf, architectureOf(gguf))('attention.sliding_window') || undefined;
  if (window && (biasedIn(gguf, 'attn') || biasedIn(gguf, 'ffn')))
    throw refuse(gguf, 'attention.sliding_window', 'models with windows and biases are none of tunebook');
  return window;
}

/** What a file's metadata and tensors say of a decoder built like Llama, in config.json's terms. */
export async function configFromGguf(gguf: Gguf, { partial = false, rope = 'linear' } = {}): Promise<Record<string, unknown>> {
  const get = numbersOf(gguf, architectureOf(gguf));
  const [hidden, heads] = [get('embedding_length') as number, get('attention.head_count') as number];
  const dim = get('attention.key_length') ?? (partial ? undefined : get('rope.dimension_count')) ?? hidden / heads;
  const turned = get('rope.dimension_count') ?? dim;
  for (const key of ['attention.value_length', ...(partial ? [] : ['rope.dimension_count'])])
    if ((get(key) ?? dim) !== dim)
      throw refuse(gguf, key, `keys of a head have ${dim} dimensions, and tunebook has as many values and turns all of them`);
  if ((get('attention.causal') as unknown) === false) throw refuse(gguf, 'attention.causal', 'tunebook has decoders only');
  return {
    vocab_size:
      get('vocab_size') ??
      (gguf.metadata.get('tokenizer.ggml.tokens') as unknown[] | undefined)?.length ??
      gguf.tensors.get('token_embd.weight')?.shape[0],
    hidden_size: hidden,
    intermediate_size: get('feed_forward_length'),
    num_hidden_layers: get('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: get('attention.head_count_kv') ?? heads,
    head_dim: dim,
    rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
    max_position_embeddings: get('context_length'),
    rope_parameters: { ...(await ropeOfGguf(gguf, get, turned, rope)), ...(turned === dim ? {} : { partial_rotary_factor: turned / dim }) },
    tie_word_embeddings: !gguf.tensors.has('output.weight'),
    ...tokenIds(gguf.metadata),
  };
}

/**
 * The names of the tensors; `biased` says by the ends of modules' names which of them may have a bias (zeros where it is missing); `own`
 * are an architecture's own of a block, beside the usual or in their place.
 */
export const ggufNames = (biased = /_proj$/, own: Names = []): GgufNames => ({
  tensors: [
    ...NAMES,
    ...[...new Map([...BLOCK, ...own])].map(([gguf, name]): [string, string] => [`blk.{}.${gguf}`, `model.layers.{}.${name}`]),
  ].flatMap(([gguf, name]) =>
    ['weight', ...(biased.test(name) ? ['bias'] : [])].map((kind): [string, string] => [`${gguf}.${kind}`, `${name}.${kind}`]),
  ),
  /** Read with the metadata; and frequencies that follow from it. */
  elsewhere: /^rope_(freqs|factors_short|factors_long)\.weight$|^blk\.\d+\.attn_rot_embd\.weight$/,
  zeros: /\.bias$/,
});

/** In Llama's files the rows of q and k have the two halves of each head interleaved; transformers keeps halves apart. */
export const interleavedHeads =
  (dim: number): GgufNames['rowOrder'] =>
  (name, rows) => {
    if (!/\.(q|k)_proj\.(weight|bias)$/.test(name)) return undefined;
    return Uint32Array.from({ length: rows }, (_, row) => {
      const within = row % dim;
      return row - within + (within < dim / 2 ? 2 * within : 2 * (within - dim / 2) + 1);
    });
  };

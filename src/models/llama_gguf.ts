import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { floats } from '../formats/floats';
import type { Gguf, GgufTensor, GgufValue } from '../formats/gguf';
import { withFile } from '../formats/slices';
import { GenerationConfig } from '../generate/generation_config';
import { type RopeParameters, rotation } from '../nn';
import { checkKeys, type KeyTable } from './keys';
import type { GgufNames } from './source';

const many = (use: KeyTable[string], ...names: string[]): KeyTable => Object.fromEntries(names.map((name) => [name, use]));

/**
 * Metadata keys of llama.cpp's llama architecture, without its name before them. Whatever stands in a file and not here is refused
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

/** What metadata outside of the architecture says: which kind of file it is. */
const FILE_KEYS: KeyTable = {
  'general.type': { refused: 'a model is expected', unless: ['model'] },
  'split.count': { refused: 'it is one part of several. Join them with llama.cpp: llama-gguf-split --merge', unless: [1] },
};
/** Descriptions, and what the tokenizer reads. */
const ELSEWHERE = /^(general|tokenizer|split|quantize|imatrix)\./;

const NAMES: [gguf: string, name: string][] = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
  ...(
    [
      ['attn_norm', 'input_layernorm'],
      ['ffn_norm', 'post_attention_layernorm'],
      ['attn_q', 'self_attn.q_proj'],
      ['attn_k', 'self_attn.k_proj'],
      ['attn_v', 'self_attn.v_proj'],
      ['attn_output', 'self_attn.o_proj'],
      ['ffn_gate', 'mlp.gate_proj'],
      ['ffn_up', 'mlp.up_proj'],
      ['ffn_down', 'mlp.down_proj'],
    ] as const
  ).map(([gguf, name]): [string, string] => [`blk.{}.${gguf}`, `model.layers.{}.${name}`]),
];
const biased = (gguf: Gguf, part: 'attn' | 'ffn') =>
  [...gguf.tensors.keys()].some((name) => new RegExp(`^blk\\.\\d+\\.${part}_(?!norm)\\w+\\.bias$`).test(name));

async function vector(gguf: Gguf, name: string): Promise<number[] | undefined> {
  const tensor = gguf.tensors.get(name);
  if (!tensor) return undefined;
  if (tensor.type !== 'F32') throw new FileError(`${gguf.path}: ${name} is stored as ${tensor.type}; F32 is expected.`);
  const [count] = tensor.shape;
  return withFile(gguf.path, async (read) => [...floats.F32(await read(tensor as GgufTensor), count)]);
}

/**
 * The rotary settings of a file. Factors of Llama 3.1 stand in a tensor, as what frequencies are divided by: where they are those of
 * Meta's rule they are called by its name, otherwise 'longrope' says the same of any factors.
 */
async function ropeOf(gguf: Gguf, get: (key: string) => number | undefined, dim: number): Promise<RopeParameters> {
  const theta = get('rope.freq_base') ?? 10000;
  const positions = get('context_length') ?? 2048;
  const original = get('rope.scaling.original_context_length') ?? positions;
  const kind = (get('rope.scaling.type') as unknown as string | undefined) ?? 'linear';
  const factor = get('rope.scaling.factor') ?? get('rope.scale_linear') ?? 1;
  const attention = get('rope.scaling.attn_factor') ?? 1;
  const base = { rope_theta: theta };
  const freqs = await vector(gguf, 'rope_freqs.weight');
  if (freqs) {
    if ((kind !== 'none' && factor !== 1 && factor !== 0) || attention !== 1)
      throw new FileError(`${gguf.path} has both rope_freqs.weight and rope.scaling (${kind}, ${factor}): tunebook takes one of them.`);
    if (freqs.every((f) => f === 1)) return base;
    const rule = {
      rope_type: 'llama3',
      factor: Math.max(...freqs),
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const turns = (parameters: RopeParameters) => rotation({ dim, theta, max_position_embeddings: positions, parameters }, 1).frequencies;
    const plain = turns({});
    if (freqs.length === plain.length && turns(rule).every((f, i) => Math.abs((f * freqs[i]) / plain[i] - 1) < 1e-5))
      return { ...base, ...rule };
    return {
      ...base,
      rope_type: 'longrope',
      short_factor: freqs,
      long_factor: freqs,
      attention_factor: 1,
      original_max_position_embeddings: positions,
    };
  }
  const [short, long] = [await vector(gguf, 'rope_factors_short.weight'), await vector(gguf, 'rope_factors_long.weight')];
  if (kind === 'longrope') {
    if (!short || !long)
      throw new FileError(
        `${gguf.path} sets rope.scaling.type to longrope, but has no rope_factors_short.weight and rope_factors_long.weight.`,
      );
    return {
      ...base,
      rope_type: kind,
      short_factor: short,
      long_factor: long,
      attention_factor: attention,
      original_max_position_embeddings: original,
    };
  }
  if (short || long)
    throw new FileError(`${gguf.path} has rope_factors_short.weight, but its rope.scaling.type is ${show(kind)}, not 'longrope'.`);
  if (kind === 'yarn') return { ...base, ...yarnOf(get, { factor, attention, original }) };
  if (attention !== 1)
    throw new FileError(
      `${gguf.path} sets rope.scaling.attn_factor to ${attention} for rope.scaling.type ${show(kind)}: tunebook has it for yarn and longrope.`,
    );
  if (kind === 'none' || factor === 1 || factor === 0) return base;
  if (kind !== 'linear')
    throw new FileError(
      `${gguf.path} sets rope.scaling.type to ${show(kind)}, which tunebook does not have in GGUF; it has none, linear, yarn, longrope.`,
    );
  return { ...base, rope_type: 'linear', factor };
}

/** As llama.cpp computes it: what cosines are multiplied by is YaRN's own factor times the file's. */
function yarnOf(
  get: (key: string) => number | undefined,
  { factor, attention, original }: { factor: number; attention: number; original: number },
): RopeParameters {
  const scaled = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const log = get('rope.scaling.yarn_log_multiplier');
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: original,
    beta_fast: get('rope.scaling.yarn_beta_fast') ?? 32,
    beta_slow: get('rope.scaling.yarn_beta_slow') ?? 1,
    attention_factor: (attention * scaled(1)) / (log ? scaled(log) : 1),
  };
}

/** Refuses what the metadata asks for and nothing here reads. */
function checkMetadata(gguf: Gguf, architecture: string): void {
  const own: [string, GgufValue][] = [];
  const other: [string, GgufValue][] = [];
  for (const [key, value] of gguf.metadata) {
    if (key.startsWith(`${architecture}.`)) own.push([key.slice(architecture.length + 1), value]);
    else other.push([key, value]);
  }
  checkKeys(own, GGUF_KEYS, gguf.path, (key, value) => {
    if (value !== 0 && value !== false)
      throw new FileError(
        `${gguf.path} sets ${architecture}.${key} to ${show(value)}, which tunebook does not have for this architecture.`,
      );
  });
  const strange: string[] = [];
  checkKeys(other, FILE_KEYS, gguf.path, (key) => {
    if (!ELSEWHERE.test(key)) strange.push(key);
  });
  if (strange.length)
    warnOnce(`${gguf.path} has metadata that is no part of its architecture ${architecture}, and is ignored: ${strange.join(', ')}.`);
}

/** A file's metadata in config.json's terms. Metadata that is not obeyed is a FileError that names it. */
export async function llamaConfigFromGguf(gguf: Gguf): Promise<Record<string, unknown>> {
  const architecture = gguf.metadata.get('general.architecture') as string;
  checkMetadata(gguf, architecture);
  const get = (key: string) => {
    const value = gguf.metadata.get(`${architecture}.${key}`);
    return (typeof value === 'bigint' ? Number(value) : value) as number | undefined;
  };
  const refuse = (key: string, why: string) => new FileError(`${gguf.path} sets ${architecture}.${key} to ${show(get(key))}: ${why}.`);
  const [hidden, heads] = [get('embedding_length') as number, get('attention.head_count') as number];
  const dim = get('attention.key_length') ?? get('rope.dimension_count') ?? hidden / heads;
  for (const key of ['attention.value_length', 'rope.dimension_count'])
    if ((get(key) ?? dim) !== dim)
      throw refuse(key, `keys of a head have ${dim} dimensions, and tunebook has as many values and turns all of them`);
  if ((get('attention.causal') as unknown) === false) throw refuse('attention.causal', 'tunebook has decoders only');
  const window = get('attention.sliding_window') || undefined;
  const [attention, mlp] = [biased(gguf, 'attn'), biased(gguf, 'ffn')];
  if (window && (attention || mlp)) throw refuse('attention.sliding_window', 'models with windows and biases are none of tunebook');
  const type = window ? 'mistral' : architecture;
  return {
    model_type: type,
    architectures: [type === 'mistral' ? 'MistralForCausalLM' : 'LlamaForCausalLM'],
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
    rope_parameters: await ropeOf(gguf, get, dim),
    tie_word_embeddings: !gguf.tensors.has('output.weight'),
    ...(attention || mlp ? { attention_bias: attention, mlp_bias: mlp } : {}),
    ...(window ? { sliding_window: window } : {}),
    ...tokenIds(gguf.metadata),
  };
}

/** llama.cpp ends an answer at the end of a turn and of a message too, where a file names them. */
function tokenIds(metadata: Map<string, GgufValue>): Record<string, unknown> {
  const token = (key: string) => metadata.get(`tokenizer.ggml.${key}_token_id`) as number | undefined;
  const ends = [...new Set([token('eos'), token('eot'), token('eom')].filter((id) => id !== undefined))];
  return { bos_token_id: token('bos'), eos_token_id: ends.length > 1 ? ends : ends[0], pad_token_id: token('padding') };
}

/** What a file says of generation: its end tokens, and settings of sampling that transformers has too. */
export function ggufGenerationConfig(metadata: Map<string, GgufValue>): GenerationConfig {
  const sampling: Record<string, string> = { temp: 'temperature', top_k: 'top_k', top_p: 'top_p', min_p: 'min_p' };
  const found = Object.entries(sampling).map(([from, to]) => [to, metadata.get(`general.sampling.${from}`)]);
  const other = [...metadata.keys()].filter((key) => /^general\.sampling\./.test(key) && !Object.hasOwn(sampling, key.slice(17)));
  if (other.length)
    warnOnce(`A GGUF file's ${other.join(', ')} are settings of llama.cpp's sampler that tunebook does not have; they are ignored.`);
  return new GenerationConfig({ ...tokenIds(metadata), ...Object.fromEntries(found), _from_model_config: true });
}

/** llama.cpp keeps the rows of q and k with the two halves of each head interleaved; transformers keeps halves apart. */
export function llamaGgufNames({ head_dim: dim }: { head_dim: number }): GgufNames {
  return {
    tensors: NAMES.flatMap(([gguf, name]) =>
      ['weight', 'bias'].map((kind): [string, string] => [`${gguf}.${kind}`, `${name}.${kind}`]),
    ).filter(([, name]) => !/norm\.bias$|(lm_head|embed_tokens)\.bias$/.test(name)),
    /** Read with the metadata; and frequencies that follow from it. */
    elsewhere: /^rope_(freqs|factors_short|factors_long)\.weight$|^blk\.\d+\.attn_rot_embd\.weight$/,
    zeros: /\.bias$/,
    rowOrder(name, rows) {
      if (!/\.(q|k)_proj\.(weight|bias)$/.test(name)) return undefined;
      return Uint32Array.from({ length: rows }, (_, row) => {
        const within = row % dim;
        return row - within + (within < dim / 2 ? 2 * within : 2 * (within - dim / 2) + 1);
      });
    },
  };
}

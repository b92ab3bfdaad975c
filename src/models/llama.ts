import { FileError, OptionError } from '../core/errors';
import { add } from '../engine/ops/add';
import { attention, LayerCache, type Layout, positionsIn } from '../engine/ops/attention';
import { attentionBlock } from '../engine/ops/attention_block';
import { gatedMlp } from '../engine/ops/gated_mlp';
import { gatherRows } from '../engine/ops/gather_rows';
import { qkv } from '../engine/ops/qkv';
import { rope } from '../engine/ops/rope';
import { swiglu } from '../engine/ops/swiglu';
import type { Precision } from '../engine/precision';
import { checkpoint } from '../engine/tape';
import * as tf from '../engine/tf';
import type { GgufValue } from '../formats/gguf';
import { Embedding, Linear, type Matrix, Module, RMSNorm, type RopeConfig, type RopeParameters, rotaryTables, rotation } from '../nn';
import { CausalLM, checkSizes, type ForwardOptions, KeyValueCache, type ModelConfig } from './causal_lm';
import type { GgufNames, WeightSource } from './source';

/** Llama (Touvron et al., 2023, https://arxiv.org/abs/2302.13971), as transformers' `LlamaForCausalLM`. */
export interface LlamaConfig extends ModelConfig {
  intermediate_size: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_parameters: RopeParameters;
  attention_bias: boolean;
  mlp_bias: boolean;
  /** Tokens that a token sees, itself among them; null: all before it. Llama has none, models built like it may. */
  sliding_window: number | null;
}

/** What every block is told of the tokens: the rotation of their positions, and which rows they are (see ForwardOptions). */
interface Tokens {
  cos: tf.Tensor2D;
  sin: tf.Tensor2D;
  layout?: Layout;
}

class LlamaAttention extends Module {
  constructor(
    private readonly config: LlamaConfig,
    readonly q_proj: Linear,
    readonly k_proj: Linear,
    readonly v_proj: Linear,
    readonly o_proj: Linear,
  ) {
    super();
  }

  /** x [batch, seq, hidden], not yet normed -> x + attention(norm(x)) [batch, seq, hidden] */
  forward(x: tf.Tensor, norm: RMSNorm, { cos, sin, layout }: Tokens, cache?: LayerCache, position = 0): tf.Tensor {
    const { num_attention_heads: heads, num_key_value_heads: groups, head_dim: dim } = this.config;
    const [batch, seq] = x.shape as number[];
    const { q_proj: q, k_proj: k, v_proj: v, o_proj: o } = this;
    const scores = { scale: 1 / Math.sqrt(dim), window: this.config.sliding_window ?? undefined };
    const given = { x, gain: norm.weight.tensor };
    const tables = { eps: norm.eps, cos, sin };
    const all = cache ? undefined : Linear.together({ q, k, v, o });
    if (all) return attentionBlock({ ...given, ...all.tensors }, { ...all.projections, ...tables, ...scores, ...layout });
    const inner = Linear.together({ q, k, v });
    let packed: tf.Tensor;
    if (inner) packed = qkv({ ...given, ...inner.tensors }, { ...inner.projections, ...tables });
    else {
      const n = norm.forward(x);
      const split = (y: tf.Tensor, n: number) => tf.reshape(y, [batch, seq, n, dim]);
      const turned = (y: tf.Tensor, n: number) => rope({ x: split(y, n), cos, sin }, {});
      packed = tf.concat([turned(q.forward(n), heads), turned(k.forward(n), groups), split(v.forward(n), groups)], 2);
    }
    const attributes = { heads, groups, ...scores };
    const mixed = cache
      ? cache.attend(packed as tf.Tensor4D, position, attributes)
      : attention({ qkv: packed as tf.Tensor4D }, { ...attributes, ...layout });
    return add({ a: x, b: o.forward(mixed) }, {});
  }
}

class LlamaMLP extends Module {
  constructor(
    readonly gate_proj: Linear,
    readonly up_proj: Linear,
    readonly down_proj: Linear,
  ) {
    super();
  }

  /** x [..., hidden], not yet normed -> x + mlp(norm(x)) [..., hidden] */
  forward(x: tf.Tensor, norm: RMSNorm): tf.Tensor {
    const { gate_proj: gate, up_proj: up, down_proj: down } = this;
    const all = Linear.together({ gate, up, down });
    if (all) return gatedMlp({ x, gain: norm.weight.tensor, ...all.tensors }, { ...all.projections, eps: norm.eps });
    const n = norm.forward(x);
    const act = swiglu({ gate: gate.forward(n), up: up.forward(n) }, {});
    return add({ a: x, b: down.forward(act) }, {});
  }
}

class LlamaDecoderLayer extends Module {
  constructor(
    readonly self_attn: LlamaAttention,
    readonly mlp: LlamaMLP,
    readonly input_layernorm: RMSNorm,
    readonly post_attention_layernorm: RMSNorm,
  ) {
    super();
  }

  /** With `at`, what comes after attention is computed at these flat indices into [batch * seq] alone: [1, at, hidden]. */
  forward(x: tf.Tensor, tokens: Tokens, cache?: LayerCache, position?: number, at?: tf.Tensor1D): tf.Tensor {
    return tf.tidy(() => {
      let h = this.self_attn.forward(x, this.input_layernorm, tokens, cache, position);
      if (at) h = tf.expandDims(gatherRows(tf.reshape(h, [-1, h.shape[2] as number]), at), 0);
      return this.mlp.forward(h, this.post_attention_layernorm);
    });
  }
}

class LlamaModel extends Module {
  constructor(
    readonly embed_tokens: Embedding,
    readonly layers: LlamaDecoderLayer[],
    readonly norm: RMSNorm,
  ) {
    super();
  }
}

export class LlamaForCausalLM extends CausalLM {
  private readonly rope: RopeConfig;
  /** Positions that it knows: a base that grows with the text goes on beyond those it was trained on. */
  private readonly positions: number;

  private constructor(
    readonly config: LlamaConfig,
    readonly model: LlamaModel,
    /** Absent where the embedding table serves as output matrix too. */
    readonly lm_head?: Linear,
  ) {
    super();
    const { head_dim: dim, rope_theta: theta, max_position_embeddings, rope_parameters: parameters } = config;
    this.rope = { dim, theta, max_position_embeddings, parameters };
    this.positions = max_position_embeddings * (parameters.rope_type === 'dynamic' ? (parameters.factor ?? 1) : 1);
    rotation(this.rope, 1); // an unknown kind is said at once
  }

  static async load(
    config: LlamaConfig,
    source: WeightSource,
    report: (done: number, of: number) => void = () => {},
  ): Promise<LlamaForCausalLM> {
    const { hidden_size: hidden, intermediate_size: inner, head_dim: dim, rms_norm_eps: eps } = config;
    const heads = config.num_attention_heads * dim;
    const groups = config.num_key_value_heads * dim;
    const linear = async (name: string, out: number, into: number, bias: boolean) =>
      new Linear(await source.weight(`${name}.weight`, out, into), bias ? await source.vector(`${name}.bias`, out) : undefined);
    const norm = async (name: string) => new RMSNorm(await source.vector(`${name}.weight`, hidden), eps);
    const layers: LlamaDecoderLayer[] = [];
    const embed = new Embedding(await source.weight('model.embed_tokens.weight', config.vocab_size, hidden));
    for (let i = 0; i < config.num_hidden_layers; i++) {
      const at = `model.layers.${i}`;
      const { attention_bias: biased, mlp_bias: mlpBiased } = config;
      layers.push(
        new LlamaDecoderLayer(
          new LlamaAttention(
            config,
            await linear(`${at}.self_attn.q_proj`, heads, hidden, biased),
            await linear(`${at}.self_attn.k_proj`, groups, hidden, biased),
            await linear(`${at}.self_attn.v_proj`, groups, hidden, biased),
            await linear(`${at}.self_attn.o_proj`, hidden, heads, biased),
          ),
          new LlamaMLP(
            await linear(`${at}.mlp.gate_proj`, inner, hidden, mlpBiased),
            await linear(`${at}.mlp.up_proj`, inner, hidden, mlpBiased),
            await linear(`${at}.mlp.down_proj`, hidden, inner, mlpBiased),
          ),
          await norm(`${at}.input_layernorm`),
          await norm(`${at}.post_attention_layernorm`),
        ),
      );
      report(i + 1, config.num_hidden_layers);
    }
    const head = config.tie_word_embeddings ? undefined : await linear('lm_head', config.vocab_size, hidden, false);
    return new LlamaForCausalLM(config, new LlamaModel(embed, layers, await norm('model.norm')), head);
  }

  get head(): Matrix {
    return this.lm_head?.weight ?? this.model.embed_tokens.weight;
  }

  hidden(ids: tf.Tensor2D, { cache, layout, recompute, at }: ForwardOptions = {}): tf.Tensor3D {
    const [, seq] = ids.shape;
    const position = cache?.length ?? 0;
    const positions = positionsIn(layout ?? { lengths: [seq] }).map((at) => position + at);
    const longest = positions.reduce((most, at) => Math.max(most, at + 1), 0);
    if (longest > this.positions)
      throw new OptionError(
        `${longest} tokens are more than the ${this.positions} positions that ${this.config._name_or_path} knows. Shorten the text or set max_length.`,
      );
    const turned = rotation(this.rope, longest);
    return tf.tidy(() => {
      const newTokens = () => ({ ...rotaryTables(turned, positions), layout });
      const tokens = newTokens();
      let x = this.model.embed_tokens.forward(ids);
      for (const [i, layer] of this.model.layers.entries()) {
        // A block that runs again in the backward pass outlives the tables of this scope.
        const last = i === this.model.layers.length - 1;
        const run = (input: tf.Tensor) =>
          layer.forward(input, recompute ? newTokens() : tokens, cache?.layers[i], position, last ? at : undefined);
        x = recompute
          ? checkpoint(
              run,
              x,
              recompute.parameters(layer).map((p) => p.tensor),
            )
          : run(x);
      }
      if (cache) cache.length += seq;
      return this.model.norm.forward(x) as tf.Tensor3D;
    });
  }

  newCache(capacity: number): KeyValueCache {
    const { num_key_value_heads: groups, head_dim: dim } = this.config;
    return new KeyValueCache(this.model.layers.map(() => new LayerCache(capacity, groups, dim)));
  }

  activationFloats(precision: Precision): [number, number] {
    const { hidden_size: hidden, intermediate_size: inner, head_dim: dim, num_hidden_layers: layers } = this.config;
    const heads = this.config.num_attention_heads * dim;
    const groups = this.config.num_key_value_heads * dim;
    const block = 2 * hidden + (2 * heads + 2 * groups + 2 * inner) * (precision === 'bf16' ? 0.5 : 1);
    return [layers * block, layers * hidden + block];
  }
}

/** config.json, of transformers 5 or earlier, with its defaults filled in. */
export function llamaConfig(json: Record<string, unknown>, name: string): LlamaConfig {
  checkSizes(
    json,
    ['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'],
    ['num_key_value_heads', 'head_dim', 'max_position_embeddings'],
    name,
  );
  const heads = json.num_attention_heads as number;
  const parameters = (json.rope_parameters ?? json.rope_scaling ?? {}) as RopeParameters & { type?: string };
  const config = {
    num_key_value_heads: heads,
    rms_norm_eps: 1e-6,
    max_position_embeddings: 2048,
    tie_word_embeddings: false,
    attention_bias: false,
    mlp_bias: false,
    ...json,
    sliding_window: null,
    head_dim: (json.head_dim as number | undefined) ?? (json.hidden_size as number) / heads,
    rope_theta: (json.rope_theta as number | undefined) ?? parameters.rope_theta ?? 10000,
    rope_parameters: {
      ...(json.original_max_position_embeddings ? { original_max_position_embeddings: json.original_max_position_embeddings } : {}),
      ...parameters,
      rope_type: parameters.rope_type ?? parameters.type ?? 'default',
    },
    _name_or_path: name,
  } as LlamaConfig;
  const { num_key_value_heads: groups, head_dim: dim } = config;
  if (heads % groups || dim % 2)
    throw new FileError(
      `The configuration of ${name} does not fit together: ${heads} heads over ${groups} key/value heads, each of ${dim} dimensions.`,
    );
  return config;
}

/** The same out of a GGUF file's metadata. */
export function llamaConfigFromGguf(metadata: Map<string, GgufValue>, hasHead: boolean, name: string): LlamaConfig {
  const get = (key: string) => metadata.get(`llama.${key}`) as number | undefined;
  const token = (key: string) => metadata.get(`tokenizer.ggml.${key}_token_id`) as number | undefined;
  return llamaConfig(
    {
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      vocab_size: get('vocab_size') ?? (metadata.get('tokenizer.ggml.tokens') as unknown[]).length,
      hidden_size: get('embedding_length'),
      intermediate_size: get('feed_forward_length'),
      num_hidden_layers: get('block_count'),
      num_attention_heads: get('attention.head_count'),
      num_key_value_heads: get('attention.head_count_kv') ?? get('attention.head_count'),
      head_dim: get('attention.key_length') ?? get('rope.dimension_count'),
      rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
      rope_theta: get('rope.freq_base') ?? 10000,
      max_position_embeddings: get('context_length'),
      tie_word_embeddings: !hasHead,
      bos_token_id: token('bos'),
      eos_token_id: token('eos'),
      pad_token_id: token('padding'),
    },
    name,
  );
}

/** llama.cpp keeps the rows of q and k with the two halves of each head interleaved; transformers keeps halves apart. */
export function llamaGgufNames(config: LlamaConfig): GgufNames {
  const block = (gguf: string, name: string): [string, string] => [`blk.{}.${gguf}.weight`, `model.layers.{}.${name}.weight`];
  return {
    tensors: [
      ['token_embd.weight', 'model.embed_tokens.weight'],
      ['output_norm.weight', 'model.norm.weight'],
      ['output.weight', 'lm_head.weight'],
      block('attn_norm', 'input_layernorm'),
      block('ffn_norm', 'post_attention_layernorm'),
      block('attn_q', 'self_attn.q_proj'),
      block('attn_k', 'self_attn.k_proj'),
      block('attn_v', 'self_attn.v_proj'),
      block('attn_output', 'self_attn.o_proj'),
      block('ffn_gate', 'mlp.gate_proj'),
      block('ffn_up', 'mlp.up_proj'),
      block('ffn_down', 'mlp.down_proj'),
    ],
    rowOrder(name, rows) {
      if (!/\.(q|k)_proj\.weight$/.test(name)) return undefined;
      const { head_dim: dim } = config;
      return Uint32Array.from({ length: rows }, (_, row) => {
        const within = row % dim;
        return row - within + (within < dim / 2 ? 2 * within : 2 * (within - dim / 2) + 1);
      });
    },
  };
}

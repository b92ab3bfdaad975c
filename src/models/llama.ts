import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { add } from '../engine/ops/add';
import { attention, LayerCache, type Layout, positionsIn } from '../engine/ops/attention';
import { attentionBlock } from '../engine/ops/attention_block';
import { gatedMlp } from '../engine/ops/gated_mlp';
import { gatherRows } from '../engine/ops/gather_rows';
import { qkv } from '../engine/ops/qkv';
import { rope } from '../engine/ops/rope';
import type { Precision } from '../engine/precision';
import { checkpoint } from '../engine/tape';
import * as tf from '../engine/tf';
import { ACTIVATIONS, Embedding, KeyValueCache, Linear, Module, RMSNorm, type RopeConfig, rotaryTables, rotation, TiedLinear } from '../nn';
import { CausalLM, type ForwardOptions } from './causal_lm';
import type { LlamaConfig } from './llama_config';
import type { WeightSource } from './source';

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
    const all = cache ? undefined : Linear.together({ q, k, v, o }, 'o');
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
    private readonly act: string,
    readonly gate_proj: Linear,
    readonly up_proj: Linear,
    readonly down_proj: Linear,
  ) {
    super();
  }

  /** x [..., hidden], not yet normed -> x + mlp(norm(x)) [..., hidden] */
  forward(x: tf.Tensor, norm: RMSNorm): tf.Tensor {
    const { gate_proj: gate, up_proj: up, down_proj: down } = this;
    const all = this.act === 'silu' ? Linear.together({ gate, up, down }, 'down') : undefined;
    if (all) return gatedMlp({ x, gain: norm.weight.tensor, ...all.tensors }, { ...all.projections, eps: norm.eps });
    const n = norm.forward(x);
    return add({ a: x, b: down.forward(ACTIVATIONS[this.act](gate.forward(n), up.forward(n))) }, {});
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

const [EMBED, HEAD] = ['model.embed_tokens.weight', 'lm_head.weight'];

/**
 * Where the embedding table is, and whether it is the output matrix too. As in transformers 5: a file with both, and different, is
 * believed more than `tie_word_embeddings: true`; where one of the two is missing it is the other.
 */
async function tableNames(config: LlamaConfig, source: WeightSource): Promise<{ embed: string; tied: boolean }> {
  if (!config.tie_word_embeddings) return { embed: EMBED, tied: false };
  if (!source.has(HEAD)) return { embed: EMBED, tied: true };
  if (!source.has(EMBED)) return { embed: HEAD, tied: true };
  const tied = await source.same(EMBED, HEAD);
  if (!tied)
    warnOnce(
      `${source.description}: config.json ties the output matrix to the embedding table (tie_word_embeddings), but ${HEAD} and ${EMBED} differ in the file, so they are not tied. Set tie_word_embeddings to false to silence this.`,
    );
  return { embed: EMBED, tied };
}

export class LlamaForCausalLM extends CausalLM {
  private readonly rope: RopeConfig;
  /** Positions that it knows: a base that grows with the text goes on beyond those it was trained on. */
  private readonly positions: number;

  private constructor(
    readonly config: LlamaConfig,
    readonly model: LlamaModel,
    readonly lm_head: Linear,
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
    const table = await tableNames(config, source);
    const embed = new Embedding(await source.weight(table.embed, config.vocab_size, hidden), config.pad_token_id ?? undefined);
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
            config.hidden_act,
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
    const head = table.tied ? new TiedLinear(() => embed) : await linear('lm_head', config.vocab_size, hidden, false);
    return new LlamaForCausalLM(
      { ...config, tie_word_embeddings: table.tied },
      new LlamaModel(embed, layers, await norm('model.norm')),
      head,
    );
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
    // An activation that the fused op does not have keeps what its parts do.
    const composed = this.config.hidden_act === 'silu' ? 0 : 5 * inner;
    const block = 2 * hidden + (2 * heads + 2 * groups + 2 * inner) * (precision === 'bf16' ? 0.5 : 1) + composed;
    return [layers * block, layers * hidden + block];
  }
}

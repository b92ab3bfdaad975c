import { add } from '../engine/ops/add';
import { attention, type LayerCache } from '../engine/ops/attention';
import { attentionBlock } from '../engine/ops/attention_block';
import type { PlannedBlock } from '../engine/ops/decode';
import { qkv } from '../engine/ops/qkv';
import { rope } from '../engine/ops/rope';
import * as tf from '../engine/tf';
import { Linear, Module, type RMSNorm } from '../nn';
import type { Tokens } from './decoder';

/** A rotation of the tokens' positions: tables [seq, turned / 2], where `turned` are the first dimensions of a head, mostly all. */
export interface Rotary {
  cos: tf.Tensor2D;
  sin: tf.Tensor2D;
}

/** The rotations of a decoder by their names; '' turns nothing. */
export interface Turns {
  turns: Record<string, Rotary>;
}

export interface Heads {
  heads: number;
  groups: number;
  dim: number;
  /** What scores are multiplied by. */
  scale: number;
  /** Tokens that a token sees, itself among them; undefined: all before it. */
  window?: number;
  /** Scores are kept between this and its negative: cap tanh(score / cap). */
  cap?: number;
  /** Which rotation queries and keys get. */
  turn: string;
}

/** What attends: queries, keys and values packed [batch, seq, heads + 2 groups, dim] -> [batch, seq, heads dim] */
export function mixed(packed: tf.Tensor, its: Heads, { layout }: Tokens<object>, cache?: LayerCache, position = 0): tf.Tensor {
  const { heads, groups, scale, window, cap } = its;
  const attributes = { heads, groups, scale, window, cap };
  return cache
    ? cache.attend(packed as tf.Tensor4D, position, attributes)
    : attention({ qkv: packed as tf.Tensor4D }, { ...attributes, ...layout });
}

/** The first dimensions of each head turned: x [batch, seq, heads, dim] -> the same */
function turned(x: tf.Tensor, { cos, sin }: Rotary): tf.Tensor {
  const [part, dim] = [2 * cos.shape[1], x.shape[3] as number];
  if (part === dim) return rope({ x, cos, sin }, {});
  const [first, rest] = tf.split(x, [part, dim - part], 3);
  return tf.concat([rope({ x: first, cos, sin }, {}), rest], 3);
}

/** What a decoder's attention is to its block. */
export interface SelfAttention extends Module {
  /**
   * x [batch, seq, hidden], not yet normed -> x + attention(norm(x)) [batch, seq, hidden]; without `residual` what would be added
   * alone.
   */
  forward(x: tf.Tensor, norm: RMSNorm, tokens: Tokens<Turns>, cache?: LayerCache, position?: number, residual?: boolean): tf.Tensor;
  /** Which rotation queries and keys get. */
  readonly turn: string;
  /** As the decode op takes it. */
  planned(): Pick<PlannedBlock, 'window' | 'norms' | 'q' | 'k' | 'v' | 'o'>;
}

/** Self-attention with grouped heads and rotary positions, its norm and its residual connection around it. */
export class Attention extends Module implements SelfAttention {
  constructor(
    private readonly its: Heads,
    readonly q_proj: Linear,
    readonly k_proj: Linear,
    readonly v_proj: Linear,
    readonly o_proj: Linear,
    /** Of each head's queries and keys, before they are turned (Henry et al., 2020, https://arxiv.org/abs/2010.04245). */
    readonly q_norm?: RMSNorm,
    readonly k_norm?: RMSNorm,
  ) {
    super();
  }

  protected override get role(): string {
    return 'Attention';
  }

  get turn(): string {
    return this.its.turn;
  }

  planned(): ReturnType<SelfAttention['planned']> {
    const { q_proj: q, k_proj: k, v_proj: v, o_proj: o } = this;
    const norms = { queries: this.q_norm?.planned(), keys: this.k_norm?.planned() };
    return { window: this.its.window, norms, q: q.planned(), k: k.planned(), v: v.planned(), o: o.planned() };
  }

  forward(x: tf.Tensor, norm: RMSNorm, tokens: Tokens<Turns>, cache?: LayerCache, position = 0, residual = true): tf.Tensor {
    const { q_proj: q, k_proj: k, v_proj: v, o_proj: o, its } = this;
    const { scale, window, cap } = its;
    const { cos, sin } = tokens.turns[its.turn];
    const given = { x, gain: norm.gain };
    const tables = { eps: norm.eps, cos, sin };
    const fused = !this.q_norm && 2 * cos.shape[1] === its.dim;
    const all = cache || !fused ? undefined : Linear.together({ q, k, v, o }, 'o');
    if (all)
      return attentionBlock(
        { ...given, ...all.tensors },
        { ...all.projections, ...tables, scale, window, cap, residual, ...tokens.layout },
      );
    const inner = fused ? Linear.together({ q, k, v }) : undefined;
    const packed = inner
      ? qkv({ ...given, ...inner.tensors }, { ...inner.projections, ...tables })
      : this.packed(norm.forward(x), { cos, sin });
    const y = o.forward(mixed(packed, its, tokens, cache, position));
    return residual ? add({ a: x, b: y }, {}) : y;
  }

  private packed(n: tf.Tensor, rotary: Rotary): tf.Tensor {
    const { heads, groups, dim } = this.its;
    const split = (y: tf.Tensor, heads: number) => tf.reshape(y, [...n.shape.slice(0, 2), heads, dim]);
    const [q, k, v] = [split(this.q_proj.forward(n), heads), split(this.k_proj.forward(n), groups), split(this.v_proj.forward(n), groups)];
    const normed = (y: tf.Tensor, norm?: RMSNorm) => turned(norm ? norm.forward(y) : y, rotary);
    return tf.concat([normed(q, this.q_norm), normed(k, this.k_norm), v], 2);
  }
}

/** The same with one matrix for queries, keys and values. */
export class JoinedAttention extends Module implements SelfAttention {
  constructor(
    private readonly its: Heads,
    readonly qkv_proj: Linear,
    readonly o_proj: Linear,
  ) {
    super();
  }

  protected override get role(): string {
    return 'Attention';
  }

  get turn(): string {
    return this.its.turn;
  }

  planned(): ReturnType<SelfAttention['planned']> {
    return { window: this.its.window, norms: {}, q: this.qkv_proj.planned(), o: this.o_proj.planned() };
  }

  forward(x: tf.Tensor, norm: RMSNorm, tokens: Tokens<Turns>, cache?: LayerCache, position = 0, residual = true): tf.Tensor {
    const { heads, groups, dim, turn } = this.its;
    const all = tf.reshape(this.qkv_proj.forward(norm.forward(x)), [...x.shape.slice(0, 2), heads + 2 * groups, dim]);
    const [qk, v] = tf.split(all, [heads + groups, groups], 2);
    const packed = tf.concat([turned(qk, tokens.turns[turn]), v], 2);
    const y = this.o_proj.forward(mixed(packed, this.its, tokens, cache, position));
    return residual ? add({ a: x, b: y }, {}) : y;
  }
}

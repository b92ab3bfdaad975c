import { add } from '../engine/ops/add';
import { attention, type LayerCache } from '../engine/ops/attention';
import { attentionBlock } from '../engine/ops/attention_block';
import { gatedMlp } from '../engine/ops/gated_mlp';
import { gatherRows } from '../engine/ops/gather_rows';
import { qkv } from '../engine/ops/qkv';
import { rope } from '../engine/ops/rope';
import * as tf from '../engine/tf';
import { ACTIVATIONS, Linear, Module, type RMSNorm } from '../nn';
import type { Tokens } from './decoder';

/** The rotation of the tokens' positions: tables [seq, dim / 2]. */
export interface Rotary {
  cos: tf.Tensor2D;
  sin: tf.Tensor2D;
}

interface Heads {
  heads: number;
  groups: number;
  dim: number;
  /** Tokens that a token sees, itself among them; undefined: all before it. */
  window?: number;
}

/** Self-attention with grouped heads and rotary positions, its norm and its residual connection around it. */
export class Attention extends Module {
  constructor(
    private readonly its: Heads,
    readonly q_proj: Linear,
    readonly k_proj: Linear,
    readonly v_proj: Linear,
    readonly o_proj: Linear,
  ) {
    super();
  }

  /** x [batch, seq, hidden], not yet normed -> x + attention(norm(x)) [batch, seq, hidden] */
  forward(x: tf.Tensor, norm: RMSNorm, { cos, sin, layout }: Tokens<Rotary>, cache?: LayerCache, position = 0): tf.Tensor {
    const { heads, groups, dim, window } = this.its;
    const [batch, seq] = x.shape as number[];
    const { q_proj: q, k_proj: k, v_proj: v, o_proj: o } = this;
    const scores = { scale: 1 / Math.sqrt(dim), window };
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

/** A feed-forward layer with a gate (Shazeer, 2020, https://arxiv.org/abs/2002.05202), its norm and its residual connection around it. */
export class GatedMLP extends Module {
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

/** Attention, then a feed-forward layer, each with a norm before it. */
export class PreNormBlock extends Module {
  constructor(
    readonly self_attn: Attention,
    readonly mlp: GatedMLP,
    readonly input_layernorm: RMSNorm,
    readonly post_attention_layernorm: RMSNorm,
  ) {
    super();
  }

  forward(x: tf.Tensor, tokens: Tokens<Rotary>, cache?: LayerCache, position?: number, at?: tf.Tensor1D): tf.Tensor {
    return tf.tidy(() => {
      let h = this.self_attn.forward(x, this.input_layernorm, tokens, cache, position);
      if (at) h = tf.expandDims(gatherRows(tf.reshape(h, [-1, h.shape[2] as number]), at), 0);
      return this.mlp.forward(h, this.post_attention_layernorm);
    });
  }
}

import { add } from '../engine/ops/add';
import type { LayerCache } from '../engine/ops/attention';
import type { PlannedBlock } from '../engine/ops/decode';
import { gatherRows } from '../engine/ops/gather_rows';
import * as tf from '../engine/tf';
import { Module, type RMSNorm } from '../nn';
import type { SelfAttention, Turns } from './attention';
import type { Tokens } from './decoder';
import type { FeedForward } from './gated_mlp';

/** The rows that are wanted of x [batch, seq, hidden]: [1, at, hidden], or all. */
export const rowsAt = (x: tf.Tensor, at?: tf.Tensor1D): tf.Tensor =>
  at ? tf.expandDims(gatherRows(tf.reshape(x, [-1, x.shape[2] as number]), at), 0) : x;

/** A block as the decode op takes it, but for its rotation, which its decoder knows. */
function plannedBlock(
  { self_attn, mlp }: { self_attn: SelfAttention; mlp: FeedForward },
  norms: PlannedBlock['norms'],
): Omit<PlannedBlock, 'rotation'> {
  const attention = self_attn.planned();
  return { ...attention, ...mlp.planned(), norms: { ...norms, ...attention.norms } };
}

/** Attention, then a feed-forward layer, each with a norm before it; what they make is added `times` over. */
export class PreNormBlock extends Module {
  constructor(
    readonly self_attn: SelfAttention,
    readonly mlp: FeedForward,
    readonly input_layernorm: RMSNorm,
    readonly post_attention_layernorm: RMSNorm,
    private readonly times = 1,
  ) {
    super();
  }

  protected override get role(): string {
    return 'DecoderLayer';
  }

  planned(): Omit<PlannedBlock, 'rotation'> {
    const norms = { beforeAttention: this.input_layernorm.planned(), beforeMlp: this.post_attention_layernorm.planned() };
    return plannedBlock(this, norms);
  }

  forward(x: tf.Tensor, tokens: Tokens<Turns>, cache?: LayerCache, position?: number, at?: tf.Tensor1D): tf.Tensor {
    const { self_attn, mlp, input_layernorm, post_attention_layernorm, times } = this;
    return tf.tidy(() => {
      if (times === 1) {
        const h = rowsAt(self_attn.forward(x, input_layernorm, tokens, cache, position), at);
        return mlp.forward(h, post_attention_layernorm);
      }
      const plus = (a: tf.Tensor, b: tf.Tensor) => add({ a, b: tf.mul(b, times) }, {});
      const h = rowsAt(plus(x, self_attn.forward(x, input_layernorm, tokens, cache, position, false)), at);
      return plus(h, mlp.forward(h, post_attention_layernorm, false));
    });
  }
}

/** The same with a norm after each of the two too, before what they make is added. */
export class SandwichBlock extends Module {
  constructor(
    readonly self_attn: SelfAttention,
    readonly mlp: FeedForward,
    readonly input_layernorm: RMSNorm,
    readonly post_attention_layernorm: RMSNorm,
    readonly pre_feedforward_layernorm: RMSNorm,
    readonly post_feedforward_layernorm: RMSNorm,
  ) {
    super();
  }

  protected override get role(): string {
    return 'DecoderLayer';
  }

  planned(): Omit<PlannedBlock, 'rotation'> {
    return plannedBlock(this, {
      beforeAttention: this.input_layernorm.planned(),
      afterAttention: this.post_attention_layernorm.planned(),
      beforeMlp: this.pre_feedforward_layernorm.planned(),
      afterMlp: this.post_feedforward_layernorm.planned(),
    });
  }

  forward(x: tf.Tensor, tokens: Tokens<Turns>, cache?: LayerCache, position?: number, at?: tf.Tensor1D): tf.Tensor {
    return tf.tidy(() => {
      const attended = this.self_attn.forward(x, this.input_layernorm, tokens, cache, position, false);
      const h = rowsAt(add({ a: x, b: this.post_attention_layernorm.forward(attended) }, {}), at);
      return add({ a: h, b: this.post_feedforward_layernorm.forward(this.mlp.forward(h, this.pre_feedforward_layernorm, false)) }, {});
    });
  }
}

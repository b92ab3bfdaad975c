import { dropout } from '../engine/ops/dropout';
import { linear } from '../engine/ops/linear';
import type { Projection } from '../engine/projection';
import * as tf from '../engine/tf';
import type { Weight } from '../engine/weights';
import { dropoutSeed } from './mode';
import { Module, type Parameter } from './module';

/** A trained low-rank term beside a linear layer: scale * dropout(x) a^T b^T, a [rank, in], b [out, rank]. */
export interface LowRank {
  a: Parameter;
  b: Parameter;
  scale: number;
  dropout: number;
  /** Tells this pair's dropout masks from those of others: the same in every process that builds the same adapter. */
  serial: number;
}

/** The pair's dropout in this pass: none outside training. */
function dropoutOf(pair: LowRank): { dropout: number; seed: number } {
  const seed = dropoutSeed();
  return { dropout: seed === undefined ? 0 : pair.dropout, seed: (seed ?? 0) + Math.imul(pair.serial + 1, 0x9e3779b1) };
}

/** y = x W^T + bias over a frozen weight of any kind, plus its low-rank terms. x [..., in] -> [..., out] */
export class Linear extends Module {
  /** Set by PEFT methods. */
  lowRank: LowRank[] = [];
  /** Stands for the pair where there is none. */
  private readonly noPair: { a: tf.Tensor; b: tf.Tensor };

  constructor(
    readonly weight: Weight,
    readonly bias?: tf.Tensor,
  ) {
    super();
    this.noPair = { a: tf.keep(tf.zeros([0, this.inFeatures])), b: tf.keep(tf.zeros([this.outFeatures, 0])) };
  }

  get outFeatures(): number {
    return this.weight.shape[0];
  }

  get inFeatures(): number {
    return this.weight.shape[1];
  }

  /**
   * What an op that does this layer's work among others needs: its first pair, and how it is used. Undefined where several
   * pairs stand beside the weight, which no op has room for.
   */
  projection(): { a: tf.Tensor; b: tf.Tensor; projection: Projection } | undefined {
    return this.lowRank.length > 1 ? undefined : this.first();
  }

  private first(): { a: tf.Tensor; b: tf.Tensor; projection: Projection } {
    const { weight, bias } = this;
    const [pair] = this.lowRank;
    if (!pair) return { ...this.noPair, projection: { weight, bias, scale: 0 } };
    return { a: pair.a.tensor, b: pair.b.tensor, projection: { weight, bias, scale: pair.scale, ...dropoutOf(pair) } };
  }

  forward(x: tf.Tensor): tf.Tensor {
    const { a, b, projection } = this.first();
    let y = linear({ x, a, b }, projection);
    // The fused op has room for one pair; further adapters are added beside it.
    for (const pair of this.lowRank.slice(1)) {
      const { dropout: rate, seed } = dropoutOf(pair);
      const low = tf.reshape(dropout({ x }, { rate, seed }), [-1, this.inFeatures]);
      const more = tf.matMul(tf.matMul(low, pair.a.tensor as tf.Tensor2D, false, true), pair.b.tensor as tf.Tensor2D, false, true);
      y = tf.add(y, tf.reshape(tf.mul(more, pair.scale), y.shape));
    }
    return y;
  }

  override ownSize(): number {
    return this.outFeatures * this.inFeatures + (this.bias?.size ?? 0);
  }

  override ownBytes(): number {
    return this.weight.byteSize + (this.bias?.size ?? 0) * 4;
  }

  protected override release(): void {
    this.weight.dispose();
    this.bias?.dispose();
    this.noPair.a.dispose();
    this.noPair.b.dispose();
  }
}

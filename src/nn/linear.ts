import { dropout } from '../engine/ops/dropout';
import { linear } from '../engine/ops/linear';
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

/** y = x W^T + bias over a frozen weight of any kind, plus its low-rank terms. x [..., in] -> [..., out] */
export class Linear extends Module {
  /** Set by PEFT methods. */
  lowRank: LowRank[] = [];

  constructor(
    readonly weight: Weight,
    readonly bias?: tf.Tensor,
  ) {
    super();
  }

  get outFeatures(): number {
    return this.weight.shape[0];
  }

  get inFeatures(): number {
    return this.weight.shape[1];
  }

  forward(x: tf.Tensor): tf.Tensor {
    const { weight } = this;
    const seed = dropoutSeed();
    const [first, ...others] = this.lowRank.map((pair) => ({
      a: pair.a.tensor,
      b: pair.b.tensor,
      scale: pair.scale,
      dropout: seed === undefined ? 0 : pair.dropout,
      seed: (seed ?? 0) + Math.imul(pair.serial + 1, 0x9e3779b1),
    }));
    if (!first)
      return this.withBias(linear({ x, a: tf.zeros([0, this.inFeatures]), b: tf.zeros([this.outFeatures, 0]) }, { weight, scale: 0 }));
    const { a, b, ...attributes } = first;
    let y = linear({ x, a, b }, { weight, ...attributes });
    // The fused op has room for one pair; further adapters are added beside it.
    for (const pair of others) {
      const low = tf.reshape(dropout({ x }, { rate: pair.dropout, seed: pair.seed }), [-1, this.inFeatures]);
      const more = tf.matMul(tf.matMul(low, pair.a as tf.Tensor2D, false, true), pair.b as tf.Tensor2D, false, true);
      y = tf.add(y, tf.reshape(tf.mul(more, pair.scale), y.shape));
    }
    return this.withBias(y);
  }

  private withBias(y: tf.Tensor): tf.Tensor {
    return this.bias ? tf.add(y, this.bias) : y;
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
  }
}

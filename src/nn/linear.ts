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
    // The first pair without dropout runs inside the fused op; others see another x, or have no room there.
    const fused = this.lowRank.findIndex((pair) => !(seed !== undefined && pair.dropout));
    const inside = this.lowRank[fused];
    const a = inside?.a.tensor ?? tf.zeros([0, this.inFeatures]);
    const b = inside?.b.tensor ?? tf.zeros([this.outFeatures, 0]);
    let y = linear({ x, a, b }, { weight, scale: inside?.scale ?? 0 });
    for (const [i, pair] of this.lowRank.entries()) {
      if (i === fused) continue;
      const dropped =
        pair.dropout && seed !== undefined
          ? dropout({ x }, { rate: pair.dropout, seed: seed + Math.imul(pair.serial + 1, 0x9e3779b1) })
          : x;
      const flat = tf.reshape(dropped, [-1, this.inFeatures]);
      const low = tf.matMul(tf.matMul(flat, pair.a.tensor as tf.Tensor2D, false, true), pair.b.tensor as tf.Tensor2D, false, true);
      y = tf.add(y, tf.reshape(tf.mul(low, pair.scale), y.shape));
    }
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

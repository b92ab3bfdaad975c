import { dense } from '../engine/ops/dense';
import { dropout } from '../engine/ops/dropout';
import { linear } from '../engine/ops/linear';
import type { Projection } from '../engine/projection';
import * as tf from '../engine/tf';
import { dropoutSeed } from './mode';
import { type Matrix, Module, Parameter } from './module';

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

/** y = x W^T + bias, plus its low-rank terms, over a frozen weight of any kind or a trained one. x [..., in] -> [..., out] */
export class Linear extends Module {
  /** Set by PEFT methods. */
  lowRank: LowRank[] = [];
  /** Stands for the pair where there is none. */
  private readonly noPair: { a: tf.Tensor; b: tf.Tensor };

  constructor(
    readonly weight: Matrix,
    readonly bias?: Parameter,
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
   * What an op that does this layer's work among others needs: its first pair, and how it is used. Undefined where weight or
   * bias are trained, or several pairs stand beside the weight: no op has room for these.
   */
  projection(): { a: tf.Tensor; b: tf.Tensor; projection: Projection } | undefined {
    const { weight, bias, noPair, lowRank } = this;
    if (weight instanceof Parameter || bias?.requires_grad || lowRank.length > 1) return undefined;
    const [pair] = lowRank;
    const frozen = { weight, bias: bias?.tensor };
    if (!pair) return { ...noPair, projection: { ...frozen, scale: 0 } };
    return { a: pair.a.tensor, b: pair.b.tensor, projection: { ...frozen, scale: pair.scale, ...dropoutOf(pair) } };
  }

  forward(x: tf.Tensor): tf.Tensor {
    const one = this.projection();
    if (one) return linear({ x, a: one.a, b: one.b }, one.projection);
    const { weight, bias } = this;
    let y = weight instanceof Parameter ? dense({ x, weight: weight.tensor }, {}) : linear({ x, ...this.noPair }, { weight, scale: 0 });
    if (bias) y = tf.add(y, bias.tensor);
    for (const pair of this.lowRank) {
      const { dropout: rate, seed } = dropoutOf(pair);
      const low = dense({ x: dropout({ x }, { rate, seed }), weight: pair.a.tensor }, {});
      y = tf.add(y, tf.mul(dense({ x: low, weight: pair.b.tensor }, {}), pair.scale));
    }
    return y;
  }

  protected override release(): void {
    this.noPair.a.dispose();
    this.noPair.b.dispose();
  }
}

import { NotPlanned, type PlannedLayer, type PlannedNorm } from '../engine/ops/decode';
import { embedding } from '../engine/ops/embedding';
import { gatherColumns } from '../engine/ops/gather_columns';
import { gatherRows } from '../engine/ops/gather_rows';
import { layerNorm } from '../engine/ops/layer_norm';
import { product } from '../engine/ops/linear';
import { rmsNorm } from '../engine/ops/rms_norm';
import * as tf from '../engine/tf';
import type { Adaptable, LowRank } from './linear';
import { type Matrix, Module, Parameter } from './module';

/**
 * Rows of a table, plus those of its low-rank terms: ids int32 [...] -> [..., dim]. As in torch, the row of `padding` is used like any
 * other and learns nothing.
 */
export class Embedding extends Module implements Adaptable {
  lowRank: LowRank[] = [];

  constructor(
    readonly weight: Matrix,
    private readonly padding?: number,
    /** What its rows are multiplied by. */
    private readonly scale = 1,
  ) {
    super();
  }

  /** Words. */
  get inFeatures(): number {
    return this.weight.shape[0];
  }

  get outFeatures(): number {
    return this.weight.shape[1];
  }

  override get adapted(): boolean {
    return super.adapted || this.lowRank.length > 0;
  }

  forward(ids: tf.Tensor): tf.Tensor {
    let y = this.rows(ids);
    for (const { a, b, scale } of this.lowRank) {
      const low = gatherColumns(a.tensor as tf.Tensor2D, tf.reshape(ids, [-1]) as tf.Tensor1D, this.padding);
      y = tf.add(y, tf.reshape(product(tf.mul(low, scale), b.tensor), y.shape));
    }
    return this.scale === 1 ? y : tf.mul(y, this.scale);
  }

  override printedOptions(): string {
    return `${this.weight.shape.join(', ')}${this.padding === undefined ? '' : `, padding_idx=${this.padding}`}`;
  }

  /** The table as the decode op takes it. */
  planned(): PlannedLayer {
    if (this.lowRank.length) throw new NotPlanned('an adapter stands beside the embedding table');
    return { weight: this.weight instanceof Parameter ? this.weight.tensor : this.weight };
  }

  private rows(ids: tf.Tensor): tf.Tensor {
    if (!(this.weight instanceof Parameter)) return embedding(ids, this.weight);
    const rows = gatherRows(this.weight.tensor as tf.Tensor2D, tf.reshape(ids, [-1]) as tf.Tensor1D, this.padding);
    return tf.reshape(rows, [...ids.shape, -1]);
  }
}

/** Norm of mean and variance with a learned gain and shift: x [..., dim] -> [..., dim] */
export class LayerNorm extends Module {
  constructor(
    readonly weight: Parameter,
    readonly bias: Parameter,
    private readonly eps: number,
  ) {
    super();
  }

  override printedOptions(): string {
    return `(${this.weight.shape[0]},), eps=${this.eps}, elementwise_affine=True`;
  }

  forward(x: tf.Tensor): tf.Tensor {
    return layerNorm({ x, weight: this.weight.tensor, bias: this.bias.tensor }, { eps: this.eps });
  }

  planned(): PlannedNorm {
    return { kind: 'layer', gain: this.weight.tensor, shift: this.bias.tensor, eps: this.eps };
  }
}

/** Root mean square norm with a learned gain, which is its weight and `plus`: x [..., dim] -> [..., dim] */
export class RMSNorm extends Module {
  constructor(
    readonly weight: Parameter,
    readonly eps: number,
    private readonly plus = 0,
  ) {
    super();
  }

  /** What is multiplied by, as a tensor of the scope that calls. [dim] */
  get gain(): tf.Tensor {
    return this.plus ? tf.add(this.weight.tensor, this.plus) : this.weight.tensor;
  }

  protected override get role(): string {
    return 'RMSNorm';
  }

  override printedOptions(): string {
    const eps = Number(this.eps.toPrecision(6)); // a GGUF file has it in 32 bits
    return `(${this.weight.shape[0]},), eps=${eps < 1e-4 ? eps.toExponential().replace(/-(\d)$/, '-0$1') : eps}`;
  }

  forward(x: tf.Tensor): tf.Tensor {
    return rmsNorm({ x, weight: this.gain }, { eps: this.eps });
  }

  /** As the decode op takes it. */
  planned(): PlannedNorm {
    return { kind: 'rms', gain: this.weight.tensor, eps: this.eps, offset: this.plus };
  }
}

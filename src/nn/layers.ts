import { embedding } from '../engine/ops/embedding';
import { rmsNorm } from '../engine/ops/rms_norm';
import type * as tf from '../engine/tf';
import type { Weight } from '../engine/weights';
import { Module } from './module';

/** Rows of a frozen table: ids int32 [...] -> [..., dim] */
export class Embedding extends Module {
  constructor(readonly weight: Weight) {
    super();
  }

  forward(ids: tf.Tensor): tf.Tensor {
    return embedding(ids, this.weight);
  }

  override ownSize(): number {
    return this.weight.shape[0] * this.weight.shape[1];
  }

  override ownBytes(): number {
    return this.weight.byteSize;
  }

  protected override release(): void {
    this.weight.dispose();
  }
}

/** Root mean square norm with a learned gain: x [..., dim] -> [..., dim] */
export class RMSNorm extends Module {
  constructor(
    readonly weight: tf.Tensor,
    readonly eps: number,
  ) {
    super();
  }

  forward(x: tf.Tensor): tf.Tensor {
    return rmsNorm({ x, weight: this.weight }, { eps: this.eps });
  }

  override ownSize(): number {
    return this.weight.size;
  }

  override ownBytes(): number {
    return this.weight.size * 4;
  }

  protected override release(): void {
    this.weight.dispose();
  }
}

import { embedding } from '../engine/ops/embedding';
import { gatherRows } from '../engine/ops/gather_rows';
import { rmsNorm } from '../engine/ops/rms_norm';
import * as tf from '../engine/tf';
import { type Matrix, Module, Parameter } from './module';

/** Rows of a table: ids int32 [...] -> [..., dim] */
export class Embedding extends Module {
  constructor(readonly weight: Matrix) {
    super();
  }

  forward(ids: tf.Tensor): tf.Tensor {
    if (!(this.weight instanceof Parameter)) return embedding(ids, this.weight);
    const rows = gatherRows(this.weight.tensor as tf.Tensor2D, tf.reshape(ids, [-1]) as tf.Tensor1D);
    return tf.reshape(rows, [...ids.shape, -1]);
  }
}

/** Root mean square norm with a learned gain: x [..., dim] -> [..., dim] */
export class RMSNorm extends Module {
  constructor(
    readonly weight: Parameter,
    readonly eps: number,
  ) {
    super();
  }

  forward(x: tf.Tensor): tf.Tensor {
    return rmsNorm({ x, weight: this.weight.tensor }, { eps: this.eps });
  }
}

import { ShapeError } from '../core/errors';
import { type Attributes, Handle } from './backend';
import { dropout } from './ops/dropout';
import { precisionAttribute } from './precision';
import * as tf from './tf';
import type { Weight } from './weights';

/**
 * A frozen weight W of any kind with a bias, and how the low-rank pair a, b beside it is used (LoRA,
 * https://arxiv.org/abs/2106.09685), as ops take one or several:
 *   y = x W^T + bias + scale (dropout(x) a^T) b^T
 * x [..., in], a [rank, in], b [out, rank] -> [..., out]; rank 0 is the frozen layer alone. W and bias get no gradient.
 * `dropout` is a share in [0, 1) with its `seed`, of the low-rank term's input alone.
 */
export interface Projection {
  weight: Weight;
  bias?: tf.Tensor;
  scale: number;
  dropout?: number;
  seed?: number;
}

export function checkProjection(
  op: string,
  x: Pick<tf.Tensor, 'shape' | 'rank'>,
  a: tf.Tensor,
  b: tf.Tensor,
  { weight, bias }: Projection,
): void {
  const [out, inner] = weight.shape;
  if (
    x.shape[x.rank - 1] !== inner ||
    a.shape[1] !== inner ||
    b.shape[0] !== out ||
    a.shape[0] !== b.shape[1] ||
    (bias && bias.size !== out)
  )
    throw new ShapeError(
      `${op}: x [${x.shape}], a [${a.shape}], b [${b.shape}]${bias ? ` and bias [${bias.shape}]` : ''} do not fit a weight of [${weight.shape}].`,
    );
}

/** The composition of tfjs's ops. */
export function project(x: tf.Tensor, a: tf.Tensor, b: tf.Tensor, projection: Projection): tf.Tensor {
  const { weight, bias, scale, dropout: rate = 0, seed = 0 } = projection;
  const flat = tf.reshape(x, [-1, weight.shape[1]]);
  let y: tf.Tensor = tf.matMul(flat, weight.dequantize(), false, true);
  if (a.shape[0]) {
    const low = rate ? tf.reshape(dropout.spec.reference({ x }, { rate, seed }), flat.shape) : flat;
    y = tf.add(y, tf.mul(tf.matMul(tf.matMul(low, a as tf.Tensor2D, false, true), b as tf.Tensor2D, false, true), scale));
  }
  if (bias) y = tf.add(y, bias);
  return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[0]]);
}

// Made once, for what most calls have not: a bias, and seeds of dropout.
let none: Handle | undefined;
let noSeeds: Handle | undefined;

/** A projection's inputs of a native op: w, a, b, bias. */
export function projectionInputs(a: tf.Tensor, b: tf.Tensor, { weight, bias }: Projection): (tf.Tensor | Handle)[] {
  none ??= Handle.constant(new Float32Array(0));
  return [weight.handle as Handle, a, b, bias ?? none];
}

/** The attributes by which a native op is told of its projections. */
export function projectionAttributes(projections: Projection[]): Attributes {
  const attributes: Attributes = precisionAttribute();
  for (const [i, { weight, scale, dropout: rate = 0 }] of projections.entries()) {
    attributes[`kind${i}`] = weight.format.code;
    attributes[`scale${i}`] = { float: scale };
    attributes[`dropout${i}`] = { float: rate };
  }
  return attributes;
}

export function projectionSeeds(projections: Projection[]): tf.Tensor | Handle {
  if (projections.some(({ dropout }) => dropout))
    return tf.tensor1d(
      projections.map(({ seed = 0 }) => seed | 0),
      'int32',
    );
  noSeeds ??= Handle.constant(new Int32Array(4));
  return noSeeds;
}

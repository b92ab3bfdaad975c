import { ShapeError } from '../../core/errors';
import { execute, type Handle } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';
import type { Weight } from '../weights';
import { dropout } from './dropout';

type Inputs = { x: tf.Tensor; a: tf.Tensor; b: tf.Tensor };
type Attributes = { weight: Weight; scale: number; dropout?: number; seed?: number };

const attributes = ({ weight, scale, dropout = 0 }: Attributes) => ({
  kind: weight.format.code,
  out: weight.shape[0],
  scale: { float: scale },
  dropout: { float: dropout },
  ...precisionAttribute(),
});
const seedOf = ({ seed = 0 }: Attributes) => tf.tensor1d([seed | 0], 'int32');

/**
 * A linear layer over a frozen weight W of any kind with a low-rank pair beside it (LoRA, https://arxiv.org/abs/2106.09685):
 *   y = x W^T + scale (dropout(x) a^T) b^T
 * x [..., in], a [rank, in], b [out, rank] -> [..., out]; rank 0 is the frozen layer alone. W gets no gradient.
 * `dropout` is a share in [0, 1) with its `seed`, of the low-rank term's input alone.
 */
export const linear = fusedOp<Inputs, Attributes>({
  name: 'Linear',
  inputs: ['x', 'a', 'b'],
  check({ x, a, b }, { weight }) {
    const [out, inner] = weight.shape;
    if (x.shape[x.rank - 1] !== inner || a.shape[1] !== inner || b.shape[0] !== out || a.shape[0] !== b.shape[1])
      throw new ShapeError(`linear: x [${x.shape}], a [${a.shape}] and b [${b.shape}] do not fit a weight of [${weight.shape}].`);
  },
  reference({ x, a, b }, { weight, scale, dropout: rate = 0, seed = 0 }) {
    const flat = tf.reshape(x, [-1, weight.shape[1]]);
    let y: tf.Tensor = tf.matMul(flat, weight.dequantize(), false, true);
    if (a.shape[0]) {
      const low = rate ? tf.reshape(dropout.spec.reference({ x }, { rate, seed }), flat.shape) : flat;
      const pair = tf.matMul(tf.matMul(low, a as tf.Tensor2D, false, true), b as tf.Tensor2D, false, true);
      y = tf.add(y, tf.mul(pair, scale));
    }
    return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[0]]);
  },
  native: {
    forward({ x, a, b }, attrs) {
      const [y, u] = execute('TunebookLinear', [x, attrs.weight.handle as Handle, a, b, seedOf(attrs)], attributes(attrs), 2);
      return { y, save: [x, a, b, u] };
    },
    backward: (dy, [x, a, b, u], attrs) =>
      execute('TunebookLinearGrad', [x, attrs.weight.handle as Handle, a, b, u, dy, seedOf(attrs)], attributes(attrs), 3),
  },
});

import { ShapeError } from '../../core/errors';
import { execute, type Attributes as OpAttributes } from '../backend';
import { fusedOp } from '../fused_op';
import { checkProjection, type Projection, project, projectionAttributes, projectionInputs, projectionSeeds } from '../projection';
import * as tf from '../tf';
import { rmsNorm } from './rms_norm';
import { rope } from './rope';

export type QkvInputs = { x: tf.Tensor; a0: tf.Tensor; b0: tf.Tensor; a1: tf.Tensor; b1: tf.Tensor; a2: tf.Tensor; b2: tf.Tensor };
export interface QkvAttributes {
  /** The norm's weight [hidden] and eps; no gradient. */
  gain: tf.Tensor;
  eps: number;
  q: Projection;
  k: Projection;
  v: Projection;
  /** Of the positions of x, [seq, dim / 2] each. */
  cos: tf.Tensor2D;
  sin: tf.Tensor2D;
}

const inputs = ({ x, a0, b0, a1, b1, a2, b2 }: QkvInputs, { gain, q, k, v, cos, sin }: QkvAttributes) => [
  x,
  gain,
  ...projectionInputs(a0, b0, q),
  ...projectionInputs(a1, b1, k),
  ...projectionInputs(a2, b2, v),
  cos,
  sin,
  projectionSeeds([q, k, v]),
];
const attributes = ({ eps, q, k, v }: QkvAttributes): OpAttributes => ({ ...projectionAttributes([q, k, v]), eps: { float: eps } });

/**
 * What attention starts from, with the norm before it and the rotation after it (RoPE, https://arxiv.org/abs/2104.09864):
 *   n = rmsNorm(x); rope(q(n)), rope(k(n)), v(n) side by side
 * x [batch, seq, hidden] -> [batch, seq, heads + 2 groups, dim]. The pairs a0, b0 stand beside q, a1, b1 beside k, a2, b2
 * beside v. Only x is kept for the backward pass.
 */
export const qkv = fusedOp<QkvInputs, QkvAttributes>({
  name: 'Qkv',
  inputs: ['x', 'a0', 'b0', 'a1', 'b1', 'a2', 'b2'],
  check({ x, a0, b0, a1, b1, a2, b2 }, { gain, q, k, v, cos, sin }) {
    checkProjection('qkv: q', x, a0, b0, q);
    checkProjection('qkv: k', x, a1, b1, k);
    checkProjection('qkv: v', x, a2, b2, v);
    const dim = 2 * cos.shape[1];
    const fits = x.rank === 3 && gain.size === x.shape[2] && cos.shape[0] === x.shape[1] && cos.shape.join() === sin.shape.join();
    if (!fits || q.weight.shape[0] % dim || k.weight.shape[0] % dim || v.weight.shape[0] !== k.weight.shape[0])
      throw new ShapeError(
        `qkv: x [${x.shape}], q [${q.weight.shape}], k [${k.weight.shape}], v [${v.weight.shape}], cos [${cos.shape}] and the norm [${gain.shape}] do not fit each other.`,
      );
  },
  reference({ x, a0, b0, a1, b1, a2, b2 }, { gain, eps, q, k, v, cos, sin }) {
    const n = rmsNorm.spec.reference({ x, weight: gain }, { eps });
    const split = (y: tf.Tensor) => tf.reshape(y, [...x.shape.slice(0, 2), -1, 2 * cos.shape[1]]);
    const turned = (y: tf.Tensor) => rope.spec.reference({ x: split(y), cos, sin }, {});
    return tf.concat([turned(project(n, a0, b0, q)), turned(project(n, a1, b1, k)), split(project(n, a2, b2, v))], 2);
  },
  native: {
    forward(given, attrs) {
      const [y, ...kept] = execute('TunebookQkv', inputs(given, attrs), attributes(attrs), 4);
      const { x, a0, b0, a1, b1, a2, b2 } = given;
      // The tables may be freed before the backward pass is run; what is saved is kept.
      return { y, save: [x, a0, b0, a1, b1, a2, b2, attrs.cos, attrs.sin, ...kept] };
    },
    backward(dy, [x, a0, b0, a1, b1, a2, b2, cos, sin, ...kept], attrs) {
      const given = inputs({ x, a0, b0, a1, b1, a2, b2 }, { ...attrs, cos: cos as tf.Tensor2D, sin: sin as tf.Tensor2D });
      return execute('TunebookQkvGrad', [...given, ...kept, dy], attributes(attrs), 7);
    },
  },
});

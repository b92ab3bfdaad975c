import { ShapeError } from '../../core/errors';
import { execute, executeGradients, type Attributes as OpAttributes } from '../backend';
import { fusedOp } from '../fused_op';
import {
  checkProjection,
  keptResult,
  type Numbered,
  numberedNames,
  type Projection,
  project,
  projectionAttributes,
  projectionInputs,
  projectionSeeds,
  resultInput,
  sizeOf,
} from '../projection';
import * as tf from '../tf';
import { rmsNorm } from './rms_norm';
import { rope } from './rope';

/** x, the norm's weight [hidden], and the tensors of q (0), k (1) and v (2). */
export type QkvInputs = { x: tf.Tensor; gain: tf.Tensor } & Numbered<0 | 1 | 2>;
export interface QkvAttributes {
  /** Of the norm. */
  eps: number;
  q: Projection;
  k: Projection;
  v: Projection;
  /** Of the positions of x, [seq, dim / 2] each. */
  cos: tf.Tensor2D;
  sin: tf.Tensor2D;
}

const inputs = (given: QkvInputs, { q, k, v, cos, sin }: QkvAttributes) => [
  given.x,
  given.gain,
  ...projectionInputs(given, 0, q),
  ...projectionInputs(given, 1, k),
  ...projectionInputs(given, 2, v),
  cos,
  sin,
  projectionSeeds([q, k, v]),
];
const attributes = ({ eps, q, k, v }: QkvAttributes): OpAttributes => projectionAttributes([q, k, v], { eps: { float: eps } });

/**
 * What attention starts from, with the norm before it and the rotation after it (RoPE, https://arxiv.org/abs/2104.09864):
 *   n = rmsNorm(x); rope(q(n)), rope(k(n)), v(n) side by side
 * x [batch, seq, hidden] -> [batch, seq, heads + 2 groups, dim]. Only x is kept for the backward pass, and the result where it is scaled.
 */
export const qkv = fusedOp<QkvInputs, QkvAttributes>({
  name: 'Qkv',
  inputs: ['x', 'gain', ...(numberedNames(3) as (keyof QkvInputs)[])],
  check(given, { q, k, v, cos, sin }) {
    const { x, gain } = given;
    checkProjection('qkv: q', x, given, 0, q);
    checkProjection('qkv: k', x, given, 1, k);
    checkProjection('qkv: v', x, given, 2, v);
    const [queries, keys, values] = [0, 1, 2].map((i) => sizeOf(given, i)[0]);
    const dim = 2 * cos.shape[1];
    const fits = x.rank === 3 && gain.size === x.shape[2] && cos.shape[0] === x.shape[1] && cos.shape.join() === sin.shape.join();
    if (!fits || queries % dim || keys % dim || values !== keys)
      throw new ShapeError(
        `qkv: x [${x.shape}], q to ${queries}, k to ${keys}, v to ${values}, cos [${cos.shape}] and the norm [${gain.shape}] do not fit each other.`,
      );
  },
  reference(given, { eps, q, k, v, cos, sin }) {
    const { x, gain } = given;
    const n = rmsNorm.spec.reference({ x, weight: gain }, { eps });
    const split = (y: tf.Tensor) => tf.reshape(y, [...x.shape.slice(0, 2), -1, 2 * cos.shape[1]]);
    const turned = (y: tf.Tensor) => rope.spec.reference({ x: split(y), cos, sin }, {});
    return tf.concat([turned(project(n, given, 0, q)), turned(project(n, given, 1, k)), split(project(n, given, 2, v))], 2);
  },
  native: {
    keepsInputs: true,
    forward(given, attrs) {
      const [y, ...kept] = execute('TunebookQkv', inputs(given, attrs), attributes(attrs), 4);
      // The tables may be freed before the backward pass is run; what is saved is kept.
      return { y, save: [attrs.cos, attrs.sin, ...kept, ...keptResult(given, [0, 1, 2], y)] };
    },
    backward(dy, [cos, sin, uQ, uK, uV, y], attrs, { inputs: given, wanted }) {
      const all = inputs(given, { ...attrs, cos: cos as tf.Tensor2D, sin: sin as tf.Tensor2D });
      return executeGradients('TunebookQkvGrad', [...all, uQ, uK, uV, resultInput(y), dy], attributes(attrs), wanted);
    },
  },
});

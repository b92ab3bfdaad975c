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
import { attention, checkLayout, type Layout, lengthsOf } from './attention';
import { type QkvAttributes, type QkvInputs, qkv } from './qkv';

/** Those of qkv, and the tensors of o (3). */
type Inputs = QkvInputs & Numbered<3>;
interface Attributes extends QkvAttributes, Layout {
  /** The output matrix. */
  o: Projection;
  /** Of the scores. */
  scale: number;
  /** Keys that a query sees, its own among them; by default all up to its own. */
  window?: number;
  /** What scores are kept within, see `attention`. */
  cap?: number;
  /** Whether x is added; by default it is. */
  residual?: boolean;
}

const inputs = (given: Inputs, { q, k, v, o, cos, sin }: Attributes, lengths: tf.Tensor) => [
  given.x,
  given.gain,
  ...projectionInputs(given, 0, q),
  ...projectionInputs(given, 1, k),
  ...projectionInputs(given, 2, v),
  cos,
  sin,
  projectionSeeds([q, k, v, o]),
  ...projectionInputs(given, 3, o),
  lengths,
];
const attributes = ({ eps, q, k, v, o, scale, window = 0, cap = 0, residual = true, prefixed }: Attributes): OpAttributes =>
  projectionAttributes([q, k, v, o], {
    ...{ eps: { float: eps }, scale: { float: scale }, cap: { float: cap } },
    ...{ window, prefixed: prefixed ? 1 : 0, residual: residual ? 1 : 0 },
  });
const headsOf = (given: Inputs, { cos, scale, window, cap, lengths, prefixed }: Attributes) => {
  const [heads, groups] = [0, 1].map((i) => sizeOf(given, i)[0] / (2 * cos.shape[1]));
  return { heads, groups, scale, window, cap, lengths, prefixed };
};

/**
 * The attention half of a block with its norm and its residual connection:
 *   y = x + o(attention(qkv(rmsNorm(x)))), or without the residual connection what is added alone
 * x [batch, seq, hidden] -> [batch, seq, hidden]; see `qkv` and `attention`. Of what it computes queries, keys, values and what
 * attention gives are kept for the backward pass.
 */
export const attentionBlock = fusedOp<Inputs, Attributes>({
  name: 'AttentionBlock',
  inputs: ['x', 'gain', ...(numberedNames(4) as (keyof Inputs)[])],
  check(given, attrs) {
    qkv.spec.check(given, attrs);
    const { heads, groups } = headsOf(given, attrs);
    const [q, k, o] = [0, 1, 3].map((i) => sizeOf(given, i));
    checkProjection('attentionBlock: o', { shape: [o[1]], rank: 1 }, given, 3, attrs.o);
    if (o[0] !== q[1] || o[1] !== q[0] || heads % groups)
      throw new ShapeError(`attentionBlock: x [${given.x.shape}], q [${q}], k [${k}] and o [${o}] do not fit each other.`);
    const [batch, seq] = given.x.shape;
    checkLayout(batch * seq, attrs);
  },
  reference(given, attrs) {
    const packed = qkv.spec.reference(given, attrs) as tf.Tensor4D;
    const y = project(attention.spec.reference({ qkv: packed }, headsOf(given, attrs)), given, 3, attrs.o);
    return attrs.residual === false ? y : tf.add(given.x, y);
  },
  native: {
    keepsInputs: true,
    forward(given, attrs) {
      const lengths = lengthsOf(given.x.shape, attrs);
      const [y, ...kept] = execute('TunebookAttentionBlock', inputs(given, attrs, lengths), attributes(attrs), 8);
      // The tables may be freed before the backward pass is run; what is saved is kept.
      return { y, save: [attrs.cos, attrs.sin, lengths, ...kept, ...keptResult(given, [3], y)] };
    },
    backward(dy, [cos, sin, lengths, qkv, o, lse, u0, u1, u2, u3, y], attrs, { inputs: given, wanted }) {
      const all = inputs(given, { ...attrs, cos: cos as tf.Tensor2D, sin: sin as tf.Tensor2D }, lengths);
      return executeGradients(
        'TunebookAttentionBlockGrad',
        [...all, qkv, o, lse, u0, u1, u2, u3, resultInput(y), dy],
        attributes(attrs),
        wanted,
      );
    },
  },
});

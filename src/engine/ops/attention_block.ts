import { ShapeError } from '../../core/errors';
import { execute, type Attributes as OpAttributes } from '../backend';
import { fusedOp } from '../fused_op';
import { checkProjection, type Projection, project, projectionAttributes, projectionInputs, projectionSeeds } from '../projection';
import * as tf from '../tf';
import { attention, checkLayout, type Layout, lengthsOf } from './attention';
import { type QkvAttributes, type QkvInputs, qkv } from './qkv';

type Inputs = QkvInputs & { a3: tf.Tensor; b3: tf.Tensor };
interface Attributes extends QkvAttributes, Layout {
  /** The output matrix. */
  o: Projection;
  /** Of the scores. */
  scale: number;
  /** Keys that a query sees, its own among them; by default all up to its own. */
  window?: number;
}

const inputs = ({ x, a0, b0, a1, b1, a2, b2, a3, b3 }: Inputs, { gain, q, k, v, o, cos, sin }: Attributes, lengths: tf.Tensor) => [
  x,
  gain,
  ...projectionInputs(a0, b0, q),
  ...projectionInputs(a1, b1, k),
  ...projectionInputs(a2, b2, v),
  cos,
  sin,
  projectionSeeds([q, k, v, o]),
  ...projectionInputs(a3, b3, o),
  lengths,
];
const attributes = ({ eps, q, k, v, o, scale, window = 0, prefixed }: Attributes): OpAttributes => ({
  ...projectionAttributes([q, k, v, o]),
  eps: { float: eps },
  scale: { float: scale },
  window,
  prefixed: prefixed ? 1 : 0,
});
const headsOf = ({ q, k, cos, scale, window, lengths, prefixed }: Attributes) => {
  const dim = 2 * cos.shape[1];
  return { heads: q.weight.shape[0] / dim, groups: k.weight.shape[0] / dim, scale, window, lengths, prefixed };
};

/**
 * The attention half of a block with its norm and its residual connection:
 *   y = x + o(attention(qkv(rmsNorm(x))))
 * x [batch, seq, hidden] -> [batch, seq, hidden]; see `qkv` and `attention`. The pairs a0, b0 stand beside q, a1, b1 beside k, a2, b2
 * beside v, a3, b3 beside o. Of what it computes queries, keys, values and what attention gives are kept for the backward pass.
 */
export const attentionBlock = fusedOp<Inputs, Attributes>({
  name: 'AttentionBlock',
  inputs: ['x', 'a0', 'b0', 'a1', 'b1', 'a2', 'b2', 'a3', 'b3'],
  check(given, attrs) {
    qkv.spec.check(given, attrs);
    const { q, k, o } = attrs;
    const { heads, groups } = headsOf(attrs);
    const [hidden, inner] = o.weight.shape;
    if (hidden !== q.weight.shape[1] || inner !== q.weight.shape[0] || heads % groups)
      throw new ShapeError(
        `attentionBlock: x [${given.x.shape}], q [${q.weight.shape}], k [${k.weight.shape}] and o [${o.weight.shape}] do not fit each other.`,
      );
    checkProjection('attentionBlock: o', { shape: [inner], rank: 1 }, given.a3, given.b3, o);
    const [batch, seq] = given.x.shape;
    checkLayout(batch * seq, attrs);
  },
  reference(given, attrs) {
    const packed = qkv.spec.reference(given, attrs) as tf.Tensor4D;
    return tf.add(given.x, project(attention.spec.reference({ qkv: packed }, headsOf(attrs)), given.a3, given.b3, attrs.o));
  },
  native: {
    forward(given, attrs) {
      const lengths = lengthsOf(given.x.shape, attrs);
      const [y, ...kept] = execute('TunebookAttentionBlock', inputs(given, attrs, lengths), attributes(attrs), 8);
      const { x, a0, b0, a1, b1, a2, b2, a3, b3 } = given;
      // The tables may be freed before the backward pass is run; what is saved is kept.
      return { y, save: [x, a0, b0, a1, b1, a2, b2, a3, b3, attrs.cos, attrs.sin, lengths, ...kept] };
    },
    backward(dy, [x, a0, b0, a1, b1, a2, b2, a3, b3, cos, sin, lengths, ...kept], attrs) {
      const tables = { cos: cos as tf.Tensor2D, sin: sin as tf.Tensor2D };
      const given = inputs({ x, a0, b0, a1, b1, a2, b2, a3, b3 }, { ...attrs, ...tables }, lengths);
      return execute('TunebookAttentionBlockGrad', [...given, ...kept, dy], attributes(attrs), 9);
    },
  },
});

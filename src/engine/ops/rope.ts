import { ShapeError } from '../../core/errors';
import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import * as tf from '../tf';

type Inputs = { x: tf.Tensor; cos: tf.Tensor; sin: tf.Tensor };

/**
 * Rotary position embedding (Su et al., 2021, https://arxiv.org/abs/2104.09864), halves rotated as transformers does.
 * x [batch, seq, heads, dim], cos and sin [seq, dim / 2] -> [batch, seq, heads, dim]
 */
export const rope = fusedOp<Inputs>({
  name: 'Rope',
  inputs: ['x', 'cos', 'sin'],
  check({ x, cos, sin }) {
    const [, seq, , dim] = x.shape;
    if (x.rank !== 4 || dim % 2 || [cos, sin].some((t) => t.shape[0] !== seq || t.shape[1] !== dim / 2))
      throw new ShapeError(`rope: x [${x.shape}] does not fit cos [${cos.shape}] and sin [${sin.shape}].`);
  },
  reference({ x, cos, sin }) {
    const [a, b] = tf.split(x, 2, -1);
    const c = tf.expandDims(cos, 1); // [seq, 1, dim / 2]
    const s = tf.expandDims(sin, 1);
    return tf.concat([tf.sub(tf.mul(a, c), tf.mul(b, s)), tf.add(tf.mul(b, c), tf.mul(a, s))], -1);
  },
  native: {
    forward({ x, cos, sin }) {
      const [y] = execute('TunebookRope', [x, cos, sin], { inverse: 0 }, 1);
      return { y, save: [cos, sin] };
    },
    // The tables are constants.
    backward: (dy, [cos, sin]) => [execute('TunebookRope', [dy, cos, sin], { inverse: 1 }, 1)[0], null, null],
  },
});

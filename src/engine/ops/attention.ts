import { ShapeError } from '../../core/errors';
import { execute, Handle, isNative } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';

type Inputs = { q: tf.Tensor4D; k: tf.Tensor4D; v: tf.Tensor4D };

/**
 * Causal attention with grouped heads (Ainslie et al., 2023, https://arxiv.org/abs/2305.13245), computed a block of queries
 * at a time (Dao et al., 2022, https://arxiv.org/abs/2205.14135): no [queries, keys] matrix stays in memory.
 * q [batch, queries, heads, dim], k and v [batch, keys, groups, dim] -> [batch, queries, heads, dim].
 * Query i sees the keys up to keys - queries + i.
 */
export const attention = fusedOp<Inputs, { scale: number }>({
  name: 'Attention',
  inputs: ['q', 'k', 'v'],
  check({ q, k, v }) {
    const fits =
      q.rank === 4 &&
      k.rank === 4 &&
      k.shape.join() === v.shape.join() &&
      q.shape[0] === k.shape[0] &&
      q.shape[3] === k.shape[3] &&
      q.shape[2] % k.shape[2] === 0 &&
      q.shape[1] <= k.shape[1];
    if (!fits) throw new ShapeError(`attention: q [${q.shape}] does not fit k [${k.shape}] and v [${v.shape}].`);
  },
  reference({ q, k, v }, { scale }) {
    const [, queries, heads] = q.shape;
    const [batch, keys, groups, dim] = k.shape;
    // [batch, heads, seq, dim], each group's keys repeated for its heads
    const spread = (t: tf.Tensor) =>
      tf.reshape(tf.mul(tf.expandDims(tf.transpose(t, [0, 2, 1, 3]), 2), tf.ones([1, 1, heads / groups, 1, 1])), [batch, heads, keys, dim]);
    const scores = tf.mul(tf.matMul(tf.transpose(q, [0, 2, 1, 3]), spread(k), false, true), scale);
    const visible = tf.lessEqual(tf.range(0, keys), tf.expandDims(tf.add(tf.range(0, queries), keys - queries), 1)); // [queries, keys]
    const masked = tf.add(scores, tf.mul(tf.sub(1, tf.cast(visible, 'float32')), -1e9));
    return tf.transpose(tf.matMul(tf.softmax(masked), spread(v)), [0, 2, 1, 3]);
  },
  native: {
    forward({ q, k, v }, { scale }) {
      const [y, lse] = execute('TunebookAttention', [q, k, v], { scale: { float: scale }, ...precisionAttribute() }, 2);
      return { y, save: [q, k, v, y, lse] };
    },
    backward: (dy, saved, { scale }) =>
      execute('TunebookAttentionGrad', [...saved, dy], { scale: { float: scale }, ...precisionAttribute() }, 3),
  },
});

/** Keys and values of one layer for the positions seen so far, for one row; grows in place up to its capacity. */
export class LayerCache {
  private handles?: [Handle, Handle];
  private tensors?: [tf.Tensor4D, tf.Tensor4D];

  constructor(
    readonly capacity: number,
    readonly groups: number,
    readonly dim: number,
  ) {
    if (isNative()) {
      const size = capacity * groups * dim;
      this.handles = [Handle.create(new Float32Array(size)), Handle.create(new Float32Array(size))];
    }
  }

  /**
   * Stores k and v at `position` and attends from there to everything before.
   * q [1, seq, heads, dim], k and v [1, seq, groups, dim] -> [1, seq, heads, dim]. No gradient.
   */
  attend(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, position: number, scale: number): tf.Tensor {
    if (position + q.shape[1] > this.capacity)
      throw new ShapeError(`The key/value cache holds ${this.capacity} positions, but ${position + q.shape[1]} are needed.`);
    if (this.handles) {
      const at = tf.tensor1d([position], 'int32');
      const [y] = execute('TunebookCachedAttention', [q, k, v, ...this.handles, at], { scale: { float: scale } }, 1);
      at.dispose();
      return y;
    }
    const before = this.tensors?.map((t) => tf.slice(t, [0, 0, 0, 0], [1, position, this.groups, this.dim]));
    const all = [k, v].map((t, i) => tf.keep(before && position ? tf.concat([before[i], t], 1) : t.clone())) as [tf.Tensor4D, tf.Tensor4D];
    this.dispose();
    this.tensors = all;
    return attention({ q, k: all[0], v: all[1] }, { scale });
  }

  dispose(): void {
    for (const owned of [...(this.handles ?? []), ...(this.tensors ?? [])]) owned.dispose();
    this.handles = undefined;
    this.tensors = undefined;
  }
}

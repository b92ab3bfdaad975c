import { ShapeError } from '../../core/errors';
import { execute, Handle, isNative } from '../backend';
import { fusedOp } from '../fused_op';
import { precisionAttribute } from '../precision';
import * as tf from '../tf';

type Inputs = { qkv: tf.Tensor4D };
interface Heads {
  /** `heads` of queries share `groups` of keys and values. */
  heads: number;
  groups: number;
  scale: number;
  /** Keys that a query sees, its own and those right before it (https://arxiv.org/abs/2004.05150); by default all. */
  window?: number;
  /** Scores are kept between this and its negative: cap tanh(score / cap) (https://arxiv.org/abs/2408.00118); by default they are not. */
  cap?: number;
}
/** Sequences that stand one behind another. */
export interface Layout {
  /** None sees another. By default the rows of the batch. */
  lengths?: number[];
  /** All others go on from the first of `lengths`: they see its tokens as if these stood before their own. */
  prefixed?: boolean;
}
type Attributes = Heads & Layout;

/** Of each token in its text, in order: where a common beginning ends, all others go on. */
export function positionsIn({ lengths = [], prefixed }: Layout): number[] {
  return lengths.flatMap((length, i) => {
    const before = prefixed && i ? lengths[0] : 0;
    return Array.from({ length }, (_, at) => before + at);
  });
}

const attributes = ({ heads, groups, scale, window = 0, cap = 0 }: Heads) => ({
  ...{ heads, groups, window },
  ...{ scale: { float: scale }, cap: { float: cap } },
});

/** q [batch, queries, heads, dim], k and v [batch, keys, groups, dim] -> [batch, queries, heads dim], of tfjs's ops. */
function attend(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, { scale, window, cap }: Heads): tf.Tensor {
  const [, queries, heads] = q.shape;
  const [batch, keys, groups, dim] = k.shape;
  // [batch, heads, seq, dim], each group's keys repeated for its heads
  const spread = (t: tf.Tensor) =>
    tf.reshape(tf.mul(tf.expandDims(tf.transpose(t, [0, 2, 1, 3]), 2), tf.ones([1, 1, heads / groups, 1, 1])), [batch, heads, keys, dim]);
  let scores = tf.mul(tf.matMul(tf.transpose(q, [0, 2, 1, 3]), spread(k), false, true), scale);
  if (cap) scores = tf.mul(tf.tanh(tf.div(scores, cap)), cap);
  const own = tf.expandDims(tf.add(tf.range(0, queries), keys - queries), 1);
  let visible = tf.lessEqual(tf.range(0, keys), own); // [queries, keys]
  if (window) visible = tf.logicalAnd(visible, tf.greater(tf.range(0, keys), tf.sub(own, window)));
  const masked = tf.add(scores, tf.mul(tf.sub(1, tf.cast(visible, 'float32')), -1e9));
  return tf.reshape(tf.transpose(tf.matMul(tf.softmax(masked), spread(v)), [0, 2, 1, 3]), [batch, queries, heads * dim]);
}

/** Of the sequences in [batch, seq, ...], as native ops take them: int32 [sequences] */
export const lengthsOf = ([batch, seq]: number[], { lengths }: Layout): tf.Tensor1D =>
  tf.tensor1d(lengths ?? Array<number>(batch).fill(seq), 'int32');

export function checkLayout(tokens: number, { lengths, window, cap = 0 }: Layout & { window?: number; cap?: number }): void {
  if (!(cap >= 0)) throw new ShapeError(`attention: a cap of scores is a number above 0, but it is ${cap}.`);
  if (window !== undefined && !(Number.isInteger(window) && window > 0))
    throw new ShapeError(`attention: a window is a whole number of keys above 0, but it is ${window}.`);
  if (lengths && lengths.reduce((sum, n) => sum + n, 0) !== tokens)
    throw new ShapeError(`attention: lengths ${lengths.join(' + ')} do not make ${tokens} tokens.`);
}

const nativeAttributes = (attrs: Attributes) => ({ ...attributes(attrs), ...precisionAttribute(), prefixed: attrs.prefixed ? 1 : 0 });

const split = (qkv: tf.Tensor4D, { heads, groups }: Heads) =>
  tf.split(qkv, [heads, groups, groups], 2) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];

/**
 * Causal self-attention with grouped heads (Ainslie et al., 2023, https://arxiv.org/abs/2305.13245), computed a block of
 * queries at a time (Dao et al., 2022, https://arxiv.org/abs/2205.14135): no [seq, seq] matrix stays in memory.
 * qkv [batch, seq, heads + 2 groups, dim], queries, keys and values of a token side by side -> [batch, seq, heads dim].
 * With `lengths`, rows of different lengths stand one behind another and need no padding; `prefixed`, a beginning that they have in
 * common stands there once.
 */
export const attention = fusedOp<Inputs, Attributes>({
  name: 'Attention',
  inputs: ['qkv'],
  check({ qkv }, { heads, groups, ...layout }) {
    if (qkv.rank !== 4 || heads % groups || qkv.shape[2] !== heads + 2 * groups)
      throw new ShapeError(`attention: qkv [${qkv.shape}] does not hold ${heads} heads and twice ${groups} groups.`);
    checkLayout(qkv.shape[0] * qkv.shape[1], layout);
  },
  reference({ qkv }, attrs) {
    if (!attrs.lengths) return attend(...split(qkv, attrs), attrs);
    const [batch, seq, , dim] = qkv.shape;
    const all = tf.reshape(qkv, [1, batch * seq, -1, dim]) as tf.Tensor4D;
    // tfjs has no gradient of a split into one piece.
    const cut = attrs.lengths.length > 1 ? tf.split(all, attrs.lengths, 1) : [all];
    const pieces = cut.map((piece) => split(piece as tf.Tensor4D, attrs));
    const after = (piece: tf.Tensor4D, place: number) => tf.concat([pieces[0][place], piece], 1);
    const parts = pieces.map(([q, k, v], i) =>
      attend(q, ...(attrs.prefixed && i ? ([after(k, 1), after(v, 2)] as const) : ([k, v] as const)), attrs),
    );
    return tf.reshape(tf.concat(parts, 1), [batch, seq, attrs.heads * dim]);
  },
  native: {
    forward({ qkv }, attrs) {
      const lengths = lengthsOf(qkv.shape, attrs);
      const [y, lse] = execute('TunebookAttention', [qkv, lengths], nativeAttributes(attrs), 2);
      return { y, save: [qkv, lengths, y, lse] };
    },
    backward: (dy, saved, attrs) => execute('TunebookAttentionGrad', [...saved, dy], nativeAttributes(attrs), 1),
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
   * Stores keys and values at `position` and attends from there to everything before.
   * qkv [1, seq, heads + 2 groups, dim] -> [1, seq, heads dim]. No gradient.
   */
  attend(qkv: tf.Tensor4D, position: number, attrs: Heads): tf.Tensor {
    const seq = qkv.shape[1];
    if (position + seq > this.capacity)
      throw new ShapeError(`The key/value cache holds ${this.capacity} positions, but ${position + seq} are needed.`);
    if (this.handles) {
      const at = tf.tensor1d([position], 'int32');
      const [y] = execute('TunebookCachedAttention', [qkv, ...this.handles, at], attributes(attrs), 1);
      at.dispose();
      return y;
    }
    const [q, k, v] = split(qkv, attrs);
    const before = this.tensors?.map((t) => tf.slice(t, [0, 0, 0, 0], [1, position, this.groups, this.dim]));
    const all = [k, v].map((t, i) => tf.keep(before && position ? tf.concat([before[i], t], 1) : t.clone())) as [tf.Tensor4D, tf.Tensor4D];
    this.dispose();
    this.tensors = all;
    return attend(q, all[0], all[1], attrs);
  }

  dispose(): void {
    for (const owned of [...(this.handles ?? []), ...(this.tensors ?? [])]) owned.dispose();
    this.handles = undefined;
    this.tensors = undefined;
  }
}

import type { DecoderPlan, PlannedLayer, PlannedNorm } from '../../src/engine/ops/decode';
import * as tf from '../../src/engine/tf';
import { Weight } from '../../src/engine/weights';

const matrix = ({ weight }: PlannedLayer): tf.Tensor2D => (weight instanceof Weight ? weight.dequantize() : weight) as tf.Tensor2D;

/** The adapters of a slot that this row uses. */
function project(x: tf.Tensor, layer: PlannedLayer, slots: number): tf.Tensor {
  for (const { vector, out } of layer.scales ?? []) if (!out) x = tf.mul(x, vector.reshape([1, -1]));
  let y: tf.Tensor = tf.matMul(x as tf.Tensor2D, matrix(layer), false, true);
  for (const { a, b, scale, slot = 0 } of layer.pairs ?? [])
    if ((slots >> slot) & 1)
      y = tf.add(y, tf.mul(tf.matMul(tf.matMul(x as tf.Tensor2D, a as tf.Tensor2D, false, true), b as tf.Tensor2D, false, true), scale));
  if (layer.bias) y = tf.add(y, layer.bias);
  for (const { vector, out } of layer.scales ?? []) if (out) y = tf.mul(y, vector.reshape([1, -1]));
  return y;
}

function normed(x: tf.Tensor, norm?: PlannedNorm): tf.Tensor {
  if (!norm) return x;
  if (norm.kind === 'layer') x = tf.sub(x, tf.mean(x, -1, true));
  let y: tf.Tensor = tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), norm.eps)));
  if (norm.gain) y = tf.mul(y, tf.add(norm.gain, norm.offset ?? 0));
  return norm.shift ? tf.add(y, norm.shift) : y;
}

const ACTIVATIONS: Record<DecoderPlan['activation'], (x: tf.Tensor) => tf.Tensor> = {
  silu: (x) => tf.mul(x, tf.sigmoid(x)),
  gelu_tanh: (x) => tf.mul(tf.mul(x, 0.5), tf.add(1, tf.tanh(tf.mul(tf.add(x, tf.mul(tf.pow(x, 3), 0.044715)), 0.7978845608)))),
  gelu: (x) => tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2)))),
  relu: tf.relu,
};
const capped = (x: tf.Tensor, cap?: number) => (cap ? tf.mul(tf.tanh(tf.div(x, cap)), cap) : x);

/** x [tokens, heads, dim], positions 0, 1, ... */
function turned(x: tf.Tensor, rotation?: { frequencies: number[]; factor: number }): tf.Tensor {
  if (!rotation) return x;
  const [tokens, , dim] = x.shape;
  const half = rotation.frequencies.length;
  const angles = tf.mul(tf.range(0, tokens).reshape([-1, 1, 1]), tf.tensor1d(rotation.frequencies));
  const [cos, sin] = [tf.mul(tf.cos(angles), rotation.factor), tf.mul(tf.sin(angles), rotation.factor)];
  const [a, b, rest] = tf.split(x, [half, half, (dim as number) - 2 * half], 2);
  return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin)), rest], 2);
}

/** What the decode op does, as a composition of tfjs's ops over a whole sequence: tokens -> logits [tokens, vocabulary]. */
export function decodeReference(plan: DecoderPlan, tokens: number[], slots = 1): Float32Array {
  const { heads, groups, dim, inner, scales = {}, caps = {} } = plan;
  const n = tokens.length;
  return tf.tidy(() => {
    const pick = (layer: PlannedLayer, ids: number[]) => tf.gather(matrix(layer), tf.tensor1d(ids, 'int32'));
    let h: tf.Tensor = tf.mul(pick(plan.embed, tokens), scales.embeddings ?? 1);
    if (plan.positions) h = tf.add(h, pick(plan.positions, [...tokens.keys()]));
    const add = (z: tf.Tensor) => {
      h = tf.add(h, tf.mul(z, scales.residual ?? 1));
    };
    for (const { norms, window = n, rotation, q, k, v, o, gate, up, down } of plan.blocks) {
      let x = normed(h, norms.beforeAttention);
      const all =
        k && v
          ? tf.concat(
              [q, k, v].map((layer) => project(x, layer, slots)),
              1,
            )
          : project(x, q, slots);
      const [qs, ks, vs] = tf.split(all.reshape([n, -1, dim]), [heads, groups, groups], 1);
      const table = rotation === undefined ? undefined : plan.rotations(n)[rotation];
      const spread = (t: tf.Tensor) =>
        tf.transpose(tf.reshape(tf.tile(tf.expandDims(t, 2), [1, 1, heads / groups, 1]), [n, heads, dim]), [1, 0, 2]);
      const [queries, keys, values] = [
        tf.transpose(turned(normed(qs, norms.queries), table), [1, 0, 2]),
        spread(turned(normed(ks, norms.keys), table)),
        spread(vs),
      ];
      const scores = capped(tf.mul(tf.matMul(queries, keys, false, true), scales.scores ?? dim ** -0.5), caps.scores);
      const behind = tf.sub(tf.range(0, n).reshape([n, 1]), tf.range(0, n).reshape([1, n]));
      const seen = tf.logicalAnd(tf.greaterEqual(behind, 0), tf.less(behind, window));
      const shares = tf.softmax(tf.where(seen, scores, tf.fill([heads, n, n], -1e9)));
      const mixed = tf.reshape(tf.transpose(tf.matMul(shares, values), [1, 0, 2]), [n, heads * dim]);
      add(normed(project(mixed, o, slots), norms.afterAttention));
      x = normed(h, norms.beforeMlp);
      const act = ACTIVATIONS[plan.activation];
      const raised = project(x, up, slots);
      const [first, second] = up.weight.shape[0] === 2 * inner ? tf.split(raised, 2, 1) : [gate && project(x, gate, slots), raised];
      add(normed(project(first ? tf.mul(act(first), second) : act(second), down, slots), norms.afterMlp));
    }
    const logits = tf.mul(project(normed(h, plan.last), plan.head, slots), scales.logits ?? 1);
    return capped(logits, caps.logits).dataSync() as Float32Array;
  });
}

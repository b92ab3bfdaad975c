import { Random } from '../core/random';
import { qr, svd } from '../engine/decompose';
import * as tf from '../engine/tf';
import { Weight, type WeightFormat } from '../engine/weights';
import { type Adaptable, Embedding, type Matrix, Parameter } from '../nn';
import { bf16, int8, nf4, packedMatrix } from '../quantize';
import { checkRank } from './ranks';

/** The first values of a pair, a [r, in] and b [out, r], as tensors of the scope that calls. */
interface First {
  a: tf.Tensor2D;
  b: tf.Tensor2D;
  /** What stands in the place of the layer's own matrix from then on: frozen, and whoever gets it frees it. */
  rest?: Matrix;
}

interface LoftQ {
  loftq_bits: number;
  loftq_iter: number;
}

interface How {
  r: number;
  scale: number;
  random: Random;
  init: boolean | string;
  loftq: LoftQ;
  /** The layer's path, in errors. */
  path: string;
}

const drawn = (rows: number, columns: number, next: () => number): tf.Tensor2D =>
  tf.tensor2d(Float32Array.from({ length: rows * columns }, next), [rows, columns]);

/** A pair beside a layer as init_lora_weights says, and what stands in the place of its matrix where that says so. */
export function firstPair(layer: Adaptable, how: How): { a: Parameter; b: Parameter; rest?: Matrix } {
  let made: { a: Parameter; b: Parameter; rest?: Matrix } | undefined;
  tf.tidy(() => {
    const { a, b, rest } = firstValues(layer, how);
    made = { a: new Parameter(tf.keep(a)), b: new Parameter(tf.keep(b)), rest };
  });
  return made as NonNullable<typeof made>;
}

function firstValues(layer: Adaptable, how: How): First {
  const { r, random, init } = how;
  const { inFeatures, outFeatures } = layer;
  const uniform = (size: number) => () => (2 * random.uniform() - 1) / Math.sqrt(size);
  const normal = (deviation: number) => () => random.normal() * deviation;
  const zero = () => 0;
  if (layer instanceof Embedding)
    return { a: drawn(r, inFeatures, init === false ? normal(1) : zero), b: drawn(outFeatures, r, normal(1)) };
  const name = typeof init === 'string' ? init.toLowerCase() : '';
  if (DECOMPOSED.test(name)) return decomposed(layer, name, how);
  if (name === 'orthogonal') return orthogonal(layer, how);
  return {
    a: drawn(r, inFeatures, name === 'gaussian' ? normal(1 / r) : uniform(inFeatures)),
    b: drawn(outFeatures, r, init === false ? uniform(r) : zero),
  };
}

/** The initialisations that take the pair out of the layer's matrix. */
const DECOMPOSED = /^(pissa(_niter_\d+)?|olora|loftq)$/;

function decomposed(layer: Adaptable, name: string, { r, scale, loftq, path }: How): First {
  const own = layer.owned('weight'); // whatever another adapter has in its place
  checkRank('LoraConfig', 'r', r, path, own.shape, { strict: true });
  const w = own instanceof Parameter ? (own.tensor as tf.Tensor2D) : own.dequantize();
  if (name === 'loftq') return loftQ(own, w, r, loftq);
  const { a, b } = name === 'olora' ? olora(w, r) : pissa(w, name, r, scale);
  return { a, b, rest: likewise(own, tf.sub(w, tf.mul(tf.matMul(b, a), scale))) };
}

/** Its r largest singular directions, split evenly (Meng et al., 2024, https://arxiv.org/abs/2404.02948): A = sqrt(S / scale) V^T, B = U sqrt(S / scale). */
function pissa(w: tf.Tensor2D, name: string, r: number, scale: number): First {
  const rounds = name.match(/_niter_(\d+)$/)?.[1];
  return halves(rounds === undefined ? svd(w) : largest(w, r, Number(rounds)), r, scale);
}

/** [out, in] by its r largest singular directions: b a * scale. */
function halves({ u, s, v }: ReturnType<typeof svd>, r: number, scale = 1): { a: tf.Tensor2D; b: tf.Tensor2D } {
  const root = tf.sqrt(tf.div(tf.slice(s, 0, r), scale));
  const a = tf.transpose(tf.mul(tf.slice(v, [0, 0], [-1, r]), root)) as tf.Tensor2D;
  return { a, b: tf.mul(tf.slice(u, [0, 0], [-1, r]), root) };
}

/** The r largest singular directions, nearly: the space that random vectors come to in some rounds (Halko et al., 2009, https://arxiv.org/abs/0909.4061, algorithm 5.1). */
function largest(w: tf.Tensor2D, r: number, rounds: number): ReturnType<typeof svd> {
  const random = Random.seeded(0); // whoever loads the adapter has to find the same
  let { q } = qr(
    tf.matMul(
      w,
      drawn(w.shape[1], r, () => random.normal()),
    ),
  );
  for (let i = 0; i < rounds; i++) {
    const back = qr(tf.matMul(w, q, true)).q;
    q = qr(tf.matMul(w, back)).q;
  }
  const { u, s, v } = svd(tf.matMul(q, w, true));
  return { u: tf.matMul(q, u), s, v };
}

/** The first columns of an orthonormal basis of the matrix's own, and its coordinates there (Büyükakyüz, 2024, https://arxiv.org/abs/2406.01775). */
function olora(w: tf.Tensor2D, r: number): First {
  const { q, r: upper } = qr(w);
  return { a: tf.slice(upper, [0, 0], [r, -1]), b: tf.slice(q, [0, 0], [-1, r]) };
}

/**
 * A packed matrix and a pair that makes up for what packing lost, in turns (Li et al., 2023, https://arxiv.org/abs/2310.08659): Q = pack(W - B A), then
 * B A the largest directions of W - Q. As in PEFT, the pair is split without regard to the scale.
 */
function loftQ(weight: Matrix, w: tf.Tensor2D, r: number, { loftq_bits: bits, loftq_iter: rounds }: LoftQ): First {
  if (weight instanceof Weight && weight.format.block > 1)
    // Packed already: the pair makes up for nothing that is known here.
    return { a: tf.zeros([r, w.shape[1]]), b: tf.zeros([w.shape[0], r]) };
  const format = bits === 8 ? int8 : nf4;
  let pair: { a: tf.Tensor2D; b: tf.Tensor2D } | undefined;
  let rest: Weight | undefined;
  for (let i = 0; i < rounds; i++) {
    rest?.dispose();
    rest = packedAs(format, pair ? tf.sub(w, tf.matMul(pair.b, pair.a)) : w);
    pair = halves(svd(tf.sub(w, rest.dequantize())), r);
  }
  return { ...(pair as { a: tf.Tensor2D; b: tf.Tensor2D }), rest };
}

/** Both random, and orthogonal to each other: half of a random rotation's rows in A, half in B (https://datta0.github.io/posts/rethink-lora-init). */
function orthogonal({ inFeatures, outFeatures }: Adaptable, { r, random }: How): First {
  const normal = () => random.normal();
  const { q } = qr(drawn(r, r, normal));
  const rows = (from: number) => tf.stridedSlice(q, [from, 0], [r, r], [2, 1]) as tf.Tensor2D;
  return {
    a: tf.div(tf.transpose(tf.matMul(drawn(inFeatures, r / 2, normal), rows(0))), 10),
    b: tf.div(tf.matMul(tf.transpose(drawn(r / 2, outFeatures, normal)), rows(1)), 10),
  };
}

/** A matrix packed as another one is. */
function likewise(weight: Matrix, matrix: tf.Tensor2D): Matrix {
  return weight instanceof Weight ? packedAs(weight.format, matrix) : new Parameter(tf.keep(matrix), false, weight.turned);
}

function packedAs(wanted: WeightFormat, matrix: tf.Tensor2D): Weight {
  const fits = matrix.shape[1] % wanted.block === 0 && (wanted.native || wanted.encode || wanted.single);
  return packedMatrix(matrix.dataSync() as Float32Array, matrix.shape, fits ? wanted : bf16);
}

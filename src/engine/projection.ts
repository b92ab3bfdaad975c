import { ShapeError } from '../core/errors';
import { type Attributes, Handle } from './backend';
import { dropout } from './ops/dropout';
import { precisionAttribute } from './precision';
import * as tf from './tf';
import { F32, type Weight } from './weights';

/**
 * A matrix W with a bias, and how the low-rank pair a, b beside it is used (LoRA, https://arxiv.org/abs/2106.09685), as ops take
 * one or several:
 *   y = x W^T + bias + scale (dropout(x) a^T) b^T
 * x [..., in], a [rank, in], b [out, rank] -> [..., out]; rank 0 is the layer alone. `dropout` is a share in [0, 1) with its `seed`, of
 * the low-rank term's input alone. A vector l may scale all that comes out, l [out, 1], or what goes in, l [1, in] (then there is no pair,
 * and the input is this projection's alone): (IA)^3's vectors (https://arxiv.org/abs/2205.05638), the magnitudes of DoRA.
 */
export interface Projection {
  /** W where it is packed and frozen; otherwise it is among the op's tensors. */
  weight?: Weight;
  scale: number;
  dropout?: number;
  seed?: number;
}

/** The tensors of a projection; each may be trained. */
export interface ProjectionTensors {
  /** W in fp32 [out, in]. */
  w?: tf.Tensor;
  a: tf.Tensor;
  b: tf.Tensor;
  /** [out] */
  bias?: tf.Tensor;
  /** What scales: [out, 1] or [1, in]. */
  l?: tf.Tensor;
}

/** The same as inputs of an op that has several: those of number N. */
export type Numbered<N extends number> = Record<`a${N}` | `b${N}`, tf.Tensor> & Partial<Record<`w${N}` | `bias${N}` | `l${N}`, tf.Tensor>>;

// Made once: strings that are put together anew have to be looked up before they name anything.
const NAMES = [0, 1, 2, 3].map(
  (i) =>
    ({
      w: `w${i}`,
      a: `a${i}`,
      b: `b${i}`,
      bias: `bias${i}`,
      l: `l${i}`,
      kind: `kind${i}`,
      scale: `scale${i}`,
      dropout: `dropout${i}`,
    }) as const,
);

/** Their names, in the order of the native ops' inputs and gradients. */
export const numberedNames = (count: number) => NAMES.slice(0, count).flatMap(({ w, a, b, bias, l }) => [w, a, b, bias, l]);

/** Of as many projections as the op has (at most 4). */
export function numbered(parts: ProjectionTensors[]): Numbered<0 | 1 | 2 | 3> {
  const all: Partial<Numbered<number>> = {};
  for (const [i, { w, a, b, bias, l }] of parts.entries()) {
    const names = NAMES[i];
    if (w) all[names.w] = w;
    all[names.a] = a;
    all[names.b] = b;
    if (bias) all[names.bias] = bias;
    if (l) all[names.l] = l;
  }
  return all as Numbered<0 | 1 | 2 | 3>;
}

function tensorsOf(given: Numbered<number>, i: number): ProjectionTensors {
  const names = NAMES[i];
  return { w: given[names.w], a: given[names.a], b: given[names.b], bias: given[names.bias], l: given[names.l] };
}

/** [out, in] of projection number i. */
export const sizeOf = (given: Numbered<number>, i: number): [out: number, into: number] => [
  given[NAMES[i].b].shape[0],
  given[NAMES[i].a].shape[1] as number,
];

export function checkProjection(
  op: string,
  x: Pick<tf.Tensor, 'shape' | 'rank'>,
  given: Numbered<number>,
  i: number,
  { weight }: Projection,
): void {
  const { w, a, b, bias, l } = tensorsOf(given, i);
  if (!w === !weight) throw new ShapeError(`${op} takes either a frozen weight or a tensor w${i}.`);
  const [out, inner] = (w ?? (weight as Weight)).shape;
  if (
    x.shape[x.rank - 1] !== inner ||
    a.shape[1] !== inner ||
    b.shape[0] !== out ||
    a.shape[0] !== b.shape[1] ||
    (bias && bias.size !== out) ||
    (w && w.rank !== 2)
  )
    throw new ShapeError(
      `${op}: x [${x.shape}], a [${a.shape}], b [${b.shape}]${bias ? ` and bias [${bias.shape}]` : ''} do not fit a weight of [${(w ?? (weight as Weight)).shape}].`,
    );
  if (!l) return;
  if (l.shape.join() !== `${out},1` && (l.shape.join() !== `1,${inner}` || a.shape[0]))
    throw new ShapeError(
      `${op}: what scales is [${l.shape}], where it can be [${out}, 1] or, without a low-rank pair, [1, ${inner}]; the pair's rank is ${a.shape[0]}.`,
    );
  if (w) throw new ShapeError(`${op}: a matrix that is trained itself is not scaled.`);
}

/** Whether it is what comes out that is scaled. */
const scalesOut = (l: tf.Tensor): boolean => l.shape[1] === 1;

/** The composition of tfjs's ops. */
export function project(x: tf.Tensor, given: Numbered<number>, i: number, projection: Projection): tf.Tensor {
  const { weight, scale, dropout: rate = 0, seed = 0 } = projection;
  const { w, a, b, bias, l } = tensorsOf(given, i);
  const [out, into] = sizeOf(given, i);
  let flat = tf.reshape(x, [-1, into]);
  if (l && !scalesOut(l)) flat = tf.mul(flat, l);
  let y: tf.Tensor = tf.matMul(flat, (w ?? (weight as Weight).dequantize()) as tf.Tensor2D, false, true);
  if (a.shape[0]) {
    const low = rate ? tf.reshape(dropout.spec.reference({ x }, { rate, seed }), flat.shape) : flat;
    y = tf.add(y, tf.mul(tf.matMul(tf.matMul(low, a as tf.Tensor2D, false, true), b as tf.Tensor2D, false, true), scale));
  }
  if (bias) y = tf.add(y, bias);
  if (l && scalesOut(l)) y = tf.mul(y, tf.reshape(l, [1, out]));
  return tf.reshape(y, [...x.shape.slice(0, -1), out]);
}

// Made once, for what most calls have not: a bias, and seeds of dropout.
let none: Handle | undefined;
let noSeeds: Handle | undefined;

/** The inputs of a native op that stand for projection number i. */
export function projectionInputs(given: Numbered<number>, i: number, { weight }: Projection): (tf.Tensor | Handle)[] {
  const { w, a, b, bias, l } = tensorsOf(given, i);
  return [w ?? (weight?.handle as Handle), a, b, bias ?? nothing(), l ?? nothing()];
}

/** An input of a native op that is not there. */
function nothing(): Handle {
  none ??= Handle.constant(new Float32Array(0));
  return none;
}

/** The result y of an op, where its backward pass will need it: where one of these projections' results are scaled. */
export const keptResult = (given: Numbered<number>, projections: number[], y: tf.Tensor): tf.Tensor[] =>
  projections.some((i) => {
    const l = given[NAMES[i].l];
    return l && scalesOut(l);
  })
    ? [y]
    : [];

/** What was kept of it, as the backward op's input. */
export const resultInput = (kept: tf.Tensor | undefined): tf.Tensor | Handle => kept ?? nothing();

/** The attributes by which a native op is told of its projections, beside `others`. */
export function projectionAttributes(projections: Projection[], others: Attributes = {}): Attributes {
  const attributes: Attributes = { ...precisionAttribute(projections.map(({ weight }) => weight?.products)), ...others };
  for (const [i, { weight, scale, dropout: rate = 0 }] of projections.entries()) {
    attributes[NAMES[i].kind] = weight?.format.code ?? F32;
    attributes[NAMES[i].scale] = { float: scale };
    attributes[NAMES[i].dropout] = { float: rate };
  }
  return attributes;
}

export function projectionSeeds(projections: Projection[]): tf.Tensor | Handle {
  if (projections.some(({ dropout }) => dropout))
    return tf.tensor1d(
      projections.map(({ seed = 0 }) => seed | 0),
      'int32',
    );
  noSeeds ??= Handle.constant(new Int32Array(4));
  return noSeeds;
}

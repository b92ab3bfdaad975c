import { ShapeError } from '../core/errors';
import { type Attributes, Handle } from './backend';
import { precisionAttribute } from './precision';
import * as tf from './tf';
import { F32, type Weight } from './weights';

/**
 * A model's output head as ops take it. Its logits are x W^T + u B^T: u [rows, rank] is what the first half of a low-rank pair
 * beside W makes of x, and B [vocabulary, rank] the second. Where there is no pair, u and b are absent.
 */
export type HeadInputs = { x: tf.Tensor; weight?: tf.Tensor; u?: tf.Tensor; b?: tf.Tensor };

export interface HeadAttributes {
  /** W [vocabulary, dim] where it gets no gradient: packed, or fp32 in a tensor. Otherwise it is among the inputs. */
  frozen?: Weight | tf.Tensor;
  /** int32 [rows] */
  labels: tf.Tensor;
  /** Logits are kept between this and its negative: cap tanh(logit / cap); by default they are not. */
  cap?: number;
  /** Told the sum of the rows' entropies, and how many have the label as their most probable word: [2], which the receiver disposes. */
  figures?: (figures: tf.Tensor1D) => void;
}

const matrixOf = ({ weight }: HeadInputs, { frozen }: HeadAttributes) => (weight ?? frozen) as Weight | tf.Tensor;
const isTensor = (matrix: Weight | tf.Tensor): matrix is tf.Tensor => matrix instanceof tf.Tensor;

export function checkHead(op: string, given: HeadInputs, attributes: HeadAttributes): void {
  const { x, weight, u, b } = given;
  const { labels } = attributes;
  if (!weight === !attributes.frozen) throw new ShapeError(`${op} takes either a frozen matrix or a trained one.`);
  const [vocabulary, dim] = matrixOf(given, attributes).shape;
  const rows = x.shape[0];
  if (x.rank !== 2 || x.shape[1] !== dim || labels.shape[0] !== rows || labels.dtype !== 'int32')
    throw new ShapeError(
      `${op}: x [${x.shape}] and ${labels.dtype} labels [${labels.shape}] do not fit a weight of [${vocabulary},${dim}].`,
    );
  if (!u !== !b || (u && b && (u.shape[0] !== rows || b.shape[0] !== vocabulary || u.shape[1] !== b.shape[1])))
    throw new ShapeError(`${op}: a pair of u [${u?.shape}] and b [${b?.shape}] does not fit x [${x.shape}] over [${vocabulary},${dim}].`);
}

/** cap tanh(x / cap) */
export const capped = (x: tf.Tensor, cap: number): tf.Tensor => tf.mul(tf.tanh(tf.div(x, cap)), cap);

/** Each row's cross-entropy, [rows], as a composition of tfjs's ops that holds all logits. */
export function headLosses(given: HeadInputs, attributes: HeadAttributes): tf.Tensor {
  const { x, u, b } = given;
  const matrix = matrixOf(given, attributes);
  const w = (isTensor(matrix) ? matrix : matrix.dequantize()) as tf.Tensor2D;
  let logits: tf.Tensor = tf.matMul(x as tf.Tensor2D, w, false, true);
  if (u && b) logits = tf.add(logits, tf.matMul(u as tf.Tensor2D, b as tf.Tensor2D, false, true));
  if (attributes.cap) logits = capped(logits, attributes.cap);
  const target = tf.sum(tf.mul(logits, tf.oneHot(attributes.labels as tf.Tensor1D, w.shape[0])), -1);
  const losses = tf.sub(tf.logSumExp(logits, -1), target);
  attributes.figures?.(tf.keep(figuresOf(logits, attributes.labels)));
  return losses;
}

const figuresOf = (logits: tf.Tensor, labels: tf.Tensor): tf.Tensor1D =>
  tf.tidy(() => {
    const entropy = tf.neg(tf.sum(tf.mul(tf.softmax(logits), tf.logSoftmax(logits))));
    return tf.stack([entropy, tf.sum(tf.cast(tf.equal(tf.argMax(logits, -1), labels), 'float32'))]) as tf.Tensor1D;
  });

let none: Handle | undefined;

/** Inputs and attributes of a native op over a head. */
export function nativeHead(given: HeadInputs, attributes: HeadAttributes): { inputs: (tf.Tensor | Handle)[]; attributes: Attributes } {
  none ??= Handle.constant(new Float32Array(0));
  const matrix = matrixOf(given, attributes);
  const packed = isTensor(matrix) ? undefined : matrix;
  return {
    inputs: [given.x, packed ? (packed.handle as Handle) : (matrix as tf.Tensor), attributes.labels, given.u ?? none, given.b ?? none],
    attributes: {
      kind: packed?.format.code ?? F32,
      vocabulary: matrix.shape[0],
      cap: { float: attributes.cap ?? 0 },
      ...precisionAttribute(),
    },
  };
}

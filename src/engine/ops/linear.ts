import { execute, executeGradients } from '../backend';
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
} from '../projection';
import * as tf from '../tf';

type Inputs = { x: tf.Tensor } & Numbered<0>;

const inputs = (given: Inputs, p: Projection) => [given.x, ...projectionInputs(given, 0, p), projectionSeeds([p])];

/** A linear layer: one projection, x [..., in], w0 [out, in], a0 [rank, in], b0 [out, rank], bias0 [out], l0 -> [..., out]; see Projection. */
export const linear = fusedOp<Inputs, Projection>({
  name: 'Linear',
  inputs: ['x', ...(numberedNames(1) as (keyof Inputs)[])],
  check: (given, projection) => checkProjection('linear', given.x, given, 0, projection),
  reference: (given, projection) => project(given.x, given, 0, projection),
  native: {
    keepsInputs: true,
    forward(given, projection) {
      const [y, u] = execute('TunebookLinear', inputs(given, projection), projectionAttributes([projection]), 2);
      return { y, save: [u, ...keptResult(given, [0], y)] };
    },
    backward(dy, [u, y], projection, { inputs: given, wanted }) {
      const all = [...inputs(given, projection), u, resultInput(y), dy];
      return executeGradients('TunebookLinearGrad', all, projectionAttributes([projection]), wanted);
    },
  },
});

/** The product with a matrix alone: x [..., in], w [out, in] -> x w^T [..., out] */
export function product(x: tf.Tensor, w: tf.Tensor): tf.Tensor {
  const [out, into] = w.shape as number[];
  return tf.tidy(() => linear({ x, w0: w, a0: tf.zeros([0, into]), b0: tf.zeros([out, 0]) }, { scale: 0 }));
}

import { execute } from '../backend';
import { fusedOp } from '../fused_op';
import { checkProjection, type Projection, project, projectionAttributes, projectionInputs, projectionSeeds } from '../projection';
import type * as tf from '../tf';

type Inputs = { x: tf.Tensor; a: tf.Tensor; b: tf.Tensor };

const inputs = ({ x, a, b }: Inputs, p: Projection) => [x, ...projectionInputs(a, b, p), projectionSeeds([p])];

/** A linear layer: one projection, x [..., in], a [rank, in], b [out, rank] -> [..., out]; see Projection. */
export const linear = fusedOp<Inputs, Projection>({
  name: 'Linear',
  inputs: ['x', 'a', 'b'],
  check: ({ x, a, b }, projection) => checkProjection('linear', x, a, b, projection),
  reference: ({ x, a, b }, projection) => project(x, a, b, projection),
  native: {
    forward(given, projection) {
      const [y, u] = execute('TunebookLinear', inputs(given, projection), projectionAttributes([projection]), 2);
      return { y, save: [given.x, given.a, given.b, u] };
    },
    backward: (dy, [x, a, b, u], projection) =>
      execute('TunebookLinearGrad', [...inputs({ x, a, b }, projection), u, dy], projectionAttributes([projection]), 3),
  },
});

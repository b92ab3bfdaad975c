import { ShapeError } from '../../core/errors';
import { execute, type Attributes as OpAttributes } from '../backend';
import { fusedOp } from '../fused_op';
import { checkProjection, type Projection, project, projectionAttributes, projectionInputs, projectionSeeds } from '../projection';
import * as tf from '../tf';
import { rmsNorm } from './rms_norm';
import { swiglu } from './swiglu';

type Pairs = { a0: tf.Tensor; b0: tf.Tensor; a1: tf.Tensor; b1: tf.Tensor; a2: tf.Tensor; b2: tf.Tensor };
type Inputs = { x: tf.Tensor } & Pairs;
interface Attributes {
  /** The norm's weight [hidden] and eps; no gradient. */
  gain: tf.Tensor;
  eps: number;
  gate: Projection;
  up: Projection;
  down: Projection;
}

const inputs = ({ x, a0, b0, a1, b1, a2, b2 }: Inputs, { gain, gate, up, down }: Attributes) => [
  x,
  gain,
  ...projectionInputs(a0, b0, gate),
  ...projectionInputs(a1, b1, up),
  ...projectionInputs(a2, b2, down),
  projectionSeeds([gate, up, down]),
];
const attributes = ({ eps, gate, up, down }: Attributes): OpAttributes => ({
  ...projectionAttributes([gate, up, down]),
  eps: { float: eps },
});

/**
 * The whole feed-forward half of a block with its norm and its residual connection (SwiGLU: Shazeer, 2020,
 * https://arxiv.org/abs/2002.05202):
 *   n = rmsNorm(x), y = x + down(silu(gate(n)) * up(n))
 * x [..., hidden] -> [..., hidden]. The pairs a0, b0 stand beside gate, a1, b1 beside up, a2, b2 beside down. Of what it
 * computes only gate(n) and up(n) are kept for the backward pass.
 */
export const gatedMlp = fusedOp<Inputs, Attributes>({
  name: 'GatedMlp',
  inputs: ['x', 'a0', 'b0', 'a1', 'b1', 'a2', 'b2'],
  check({ x, a0, b0, a1, b1, a2, b2 }, { gain, gate, up, down }) {
    checkProjection('gatedMlp: gate', x, a0, b0, gate);
    checkProjection('gatedMlp: up', x, a1, b1, up);
    const [hidden, inner] = down.weight.shape;
    if (gate.weight.shape[0] !== inner || up.weight.shape[0] !== inner || hidden !== gate.weight.shape[1] || gain.size !== hidden)
      throw new ShapeError(
        `gatedMlp: gate [${gate.weight.shape}], up [${up.weight.shape}], down [${down.weight.shape}] and the norm [${gain.shape}] do not fit each other.`,
      );
    if (a2.shape[1] !== inner || b2.shape[0] !== hidden || a2.shape[0] !== b2.shape[1])
      throw new ShapeError(`gatedMlp: down: a [${a2.shape}] and b [${b2.shape}] do not fit a weight of [${down.weight.shape}].`);
  },
  reference({ x, a0, b0, a1, b1, a2, b2 }, { gain, eps, gate, up, down }) {
    const n = rmsNorm.spec.reference({ x, weight: gain }, { eps });
    const act = swiglu.spec.reference({ gate: project(n, a0, b0, gate), up: project(n, a1, b1, up) }, {});
    return tf.add(x, project(act, a2, b2, down));
  },
  native: {
    forward(given, attrs) {
      const [y, ...kept] = execute('TunebookGatedMlp', inputs(given, attrs), attributes(attrs), 6);
      const { x, a0, b0, a1, b1, a2, b2 } = given;
      return { y, save: [x, a0, b0, a1, b1, a2, b2, ...kept] };
    },
    backward(dy, [x, a0, b0, a1, b1, a2, b2, ...kept], attrs) {
      return execute('TunebookGatedMlpGrad', [...inputs({ x, a0, b0, a1, b1, a2, b2 }, attrs), ...kept, dy], attributes(attrs), 7);
    },
  },
});

import { ShapeError } from '../../core/errors';
import { execute, executeGradients, type Attributes as OpAttributes } from '../backend';
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
  sizeOf,
} from '../projection';
import * as tf from '../tf';
import { geglu } from './geglu';
import { rmsNorm } from './rms_norm';
import { swiglu } from './swiglu';

/** Activations of the gate, under transformers' names, by the numbers that the native op knows them by. */
const GATES = { silu: 0, gelu_pytorch_tanh: 1, gelu: 2 };
type Act = keyof typeof GATES;
export const isGate = (act: string): act is Act => Object.hasOwn(GATES, act);

/** x, the norm's weight [hidden], and the tensors of gate (0), up (1) and down (2). */
type Inputs = { x: tf.Tensor; gain: tf.Tensor } & Numbered<0 | 1 | 2>;
interface Attributes {
  /** Of the norm. */
  eps: number;
  gate: Projection;
  up: Projection;
  down: Projection;
  /** By default silu. */
  act?: Act;
  /** Whether x is added; by default it is. */
  residual?: boolean;
}

const inputs = (given: Inputs, { gate, up, down }: Attributes) => [
  given.x,
  given.gain,
  ...projectionInputs(given, 0, gate),
  ...projectionInputs(given, 1, up),
  ...projectionInputs(given, 2, down),
  projectionSeeds([gate, up, down]),
];
const attributes = ({ eps, gate, up, down, act = 'silu', residual = true }: Attributes): OpAttributes =>
  projectionAttributes([gate, up, down], { eps: { float: eps }, act: GATES[act], residual: residual ? 1 : 0 });

/**
 * The whole feed-forward half of a block with its norm and its residual connection (SwiGLU, GEGLU: Shazeer, 2020,
 * https://arxiv.org/abs/2002.05202):
 *   n = rmsNorm(x), y = x + down(act(gate(n)) * up(n)), or without the residual connection what is added alone
 * x [..., hidden] -> [..., hidden]. Of what it computes only gate(n) and up(n) are kept for the backward pass.
 */
export const gatedMlp = fusedOp<Inputs, Attributes>({
  name: 'GatedMlp',
  inputs: ['x', 'gain', ...(numberedNames(3) as (keyof Inputs)[])],
  check(given, { gate, up, down }) {
    const { x, gain } = given;
    checkProjection('gatedMlp: gate', x, given, 0, gate);
    checkProjection('gatedMlp: up', x, given, 1, up);
    const [hidden, inner] = sizeOf(given, 2);
    checkProjection('gatedMlp: down', { shape: [inner], rank: 1 }, given, 2, down);
    const [[gates, into], [ups]] = [sizeOf(given, 0), sizeOf(given, 1)];
    if (gates !== inner || ups !== inner || hidden !== into || gain.size !== hidden)
      throw new ShapeError(
        `gatedMlp: gate [${gates}, ${into}], up [${ups}, ${into}], down [${hidden}, ${inner}] and the norm [${gain.shape}] do not fit each other.`,
      );
  },
  reference(given, { eps, gate, up, down, act = 'silu', residual = true }) {
    const n = rmsNorm.spec.reference({ x: given.x, weight: given.gain }, { eps });
    const parts = { gate: project(n, given, 0, gate), up: project(n, given, 1, up) };
    const inner = act === 'silu' ? swiglu.spec.reference(parts, {}) : geglu.spec.reference(parts, { tanh: act !== 'gelu' });
    const y = project(inner, given, 2, down);
    return residual ? tf.add(given.x, y) : y;
  },
  native: {
    keepsInputs: true,
    forward(given, attrs) {
      const [y, ...save] = execute('TunebookGatedMlp', inputs(given, attrs), attributes(attrs), 6);
      return { y, save: [...save, ...keptResult(given, [2], y)] };
    },
    backward(dy, [gate, up, u0, u1, u2, y], attrs, { inputs: given, wanted }) {
      const all = [...inputs(given, attrs), gate, up, u0, u1, u2, resultInput(y), dy];
      return executeGradients('TunebookGatedMlpGrad', all, attributes(attrs), wanted);
    },
  },
});

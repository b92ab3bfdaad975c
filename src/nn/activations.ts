import { type DecoderPlan, NotPlanned } from '../engine/ops/decode';
import { geglu } from '../engine/ops/geglu';
import { swiglu } from '../engine/ops/swiglu';
import * as tf from '../engine/tf';

type Gate = (gate: tf.Tensor, up: tf.Tensor) => tf.Tensor;

const by =
  (f: (x: tf.Tensor) => tf.Tensor): Gate =>
  (gate, up) =>
    tf.mul(f(gate), up);
const gelu =
  (tanh: boolean): Gate =>
  (gate, up) =>
    geglu({ gate, up }, { tanh });
const normal = (x: tf.Tensor) => tf.mul(tf.mul(0.5, x), tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));
const silu: Gate = (gate, up) => swiglu({ gate, up }, {});

/** A feed-forward layer's `hidden_act` by transformers' names (its ACT2FN): act(gate) * up. gate [...], up [...] -> [...] */
export const ACTIVATIONS: Readonly<Record<string, Gate>> = {
  silu,
  swish: silu,
  gelu: gelu(false),
  gelu_python: gelu(false),
  gelu_new: gelu(true),
  gelu_fast: gelu(true),
  gelu_accurate: gelu(true),
  gelu_pytorch_tanh: gelu(true),
  gelu_python_tanh: gelu(true),
  gelu_10: by((x) => tf.clipByValue(normal(x), -10, 10)),
  quick_gelu: by((x) => tf.mul(x, tf.sigmoid(tf.mul(1.702, x)))),
  relu: by(tf.relu),
  relu2: by((x) => tf.square(tf.relu(x))),
  relu6: by(tf.relu6),
  leaky_relu: by((x) => tf.leakyRelu(x, 0.01)),
  hardswish: by((x) => tf.mul(x, tf.div(tf.relu6(tf.add(x, 3)), 6))),
  mish: by((x) => tf.mul(x, tf.tanh(tf.softplus(x)))),
  sqrtsoftplus: by((x) => tf.sqrt(tf.softplus(x))),
  laplace: by((x) => tf.mul(0.5, tf.add(1, tf.erf(tf.div(tf.sub(x, Math.SQRT1_2), 0.282095 * Math.SQRT2))))),
  sigmoid: by(tf.sigmoid),
  tanh: by(tf.tanh),
  linear: by((x) => x),
};

/** What transformers calls the classes of these where their own names do not say it. */
const CLASSES: Readonly<Record<string, string>> = {
  gelu: 'GELUActivation()',
  gelu_10: 'ClippedGELUActivation()',
  gelu_fast: 'FastGELUActivation()',
  gelu_new: 'NewGELUActivation()',
  gelu_python: 'GELUActivation()',
  gelu_pytorch_tanh: 'GELUTanh()',
  gelu_python_tanh: 'GELUTanh()',
  gelu_accurate: 'AccurateGELUActivation()',
  hardswish: 'Hardswish()',
  leaky_relu: 'LeakyReLU(negative_slope=0.01)',
  quick_gelu: 'QuickGELUActivation()',
  relu: 'ReLU()',
  relu2: 'ReLUSquaredActivation()',
  relu6: 'ReLU6()',
  sigmoid: 'Sigmoid()',
  silu: 'SiLUActivation()',
  sqrtsoftplus: 'SqrtSoftplusActivation()',
  swish: 'SiLU()',
  tanh: 'Tanh()',
};

/** An activation as transformers prints it: 'SiLUActivation()'. */
export const printedActivation = (name: string): string => CLASSES[name] ?? `${name[0].toUpperCase()}${name.slice(1)}Activation()`;

const PLANNED: [DecoderPlan['activation'], RegExp][] = [
  ['silu', /^(silu|swish)$/],
  ['gelu', /^gelu(_python)?$/],
  ['gelu_tanh', /^gelu_(new|fast|accurate|pytorch_tanh|python_tanh)$/],
  ['relu', /^relu$/],
];

/** A `hidden_act` as the decode op calls it. */
export function plannedActivation(name: string): DecoderPlan['activation'] {
  const [found] = PLANNED.find(([, names]) => names.test(name)) ?? [];
  if (!found) throw new NotPlanned(`the decode op has no activation '${name}'`);
  return found;
}

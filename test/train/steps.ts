import { Random } from '../../src/core/random';
import * as tf from '../../src/engine/tf';
import { Parameter } from '../../src/nn';
import { TRAINING_DEFAULTS } from '../../src/train/config';
import { OPTIMIZERS, Optimizer } from '../../src/train/optimizers';

/** Two of them large enough to be remembered in 8 bits, one of these with rows of no values. */
export const SHAPES = { vector: [40], matrix: [7, 30], large: [70, 80], sparse: [64, 96] };
export const STEPS = 12;
export const args = { ...TRAINING_DEFAULTS, learning_rate: 0.01, weight_decay: 0.1 };

/** Values of one parameter, or its gradients of one step: the same each time. */
export function drawn(name: keyof typeof SHAPES, step: number): Float32Array {
  const [rows, columns] = [SHAPES[name][0], SHAPES[name][1] ?? 1];
  const random = Random.seeded(Object.keys(SHAPES).indexOf(name), step);
  return Float32Array.from({ length: rows * columns }, (_, i) =>
    name === 'sparse' && step && Math.floor(i / columns) % 3 === 0 ? 0 : random.normal() * (step ? 0.1 : 1),
  );
}

export const tensors = (step: number) =>
  new Map(Object.entries(SHAPES).map(([name, shape]) => [name, tf.tensor(drawn(name as keyof typeof SHAPES, step), shape)]));

/** An optimizer's name, with optim_args behind a question mark: 'sgd?momentum=0.9'. */
export const WITH_ARGS = ['sgd?momentum=0.9', 'sgd?momentum=0.8,dampening=0.1', 'sgd?momentum=0.9,nesterov=true'];

/** Takes steps from `first` to `last`; with `from` what an optimizer remembered is taken over first. */
export async function stepped(
  optimizer_name: string,
  first: number,
  last: number,
  start: Map<string, tf.Tensor>,
  from?: Map<string, Float32Array>,
) {
  const parameters = new Map([...start].map(([name, tensor]) => [name, new Parameter(tf.keep(tf.clone(tensor)))]));
  const [optim, optim_args = null] = optimizer_name.split('?');
  const optimizer = new Optimizer(
    OPTIMIZERS[optim],
    () => parameters,
    { ...args, optim, optim_args },
    (name) => ({ rate: 1, weight_decay: SHAPES[name as keyof typeof SHAPES].length > 1 ? args.weight_decay : 0 }),
  );
  if (from) await optimizer.restore(first - 1, from.keys(), async (name, shape) => tf.tensor(from.get(name) as Float32Array, shape));
  for (let step = first; step <= last; step++) {
    const gradients = tensors(step);
    optimizer.apply(gradients, args.learning_rate / step, step % 2 ? 1 : 0.5);
    tf.dispose([...gradients.values()]);
  }
  const remembered = new Map<string, Float32Array>();
  for (const { name, data } of optimizer.state()) remembered.set(name, (await (data as () => Promise<Float32Array>)()).slice());
  optimizer.dispose();
  const values = new Map<string, Float32Array>();
  for (const [name, { tensor }] of parameters) values.set(name, tensor.dataSync().slice() as Float32Array);
  for (const parameter of parameters.values()) parameter.dispose();
  return { values, remembered };
}

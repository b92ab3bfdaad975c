import { isNative } from './backend';
import { precision, withPrecision } from './precision';
import { taped } from './tape';
import * as tf from './tf';

type Tensors = Record<string, tf.Tensor>;

/**
 * An op that may have a native kernel. Without one (another backend, or none written yet) the reference composition runs and
 * tfjs differentiates that, so the same model code works everywhere. `test/engine/check_op.ts` compares the two.
 */
export interface FusedOpSpec<I extends Tensors, A> {
  name: string;
  /** The tensors it takes, in the order in which `backward` returns their gradients. */
  inputs: (keyof I & string)[];
  /** Throws a ShapeError that names the shapes. */
  check(inputs: I, attributes: A): void;
  reference(inputs: I, attributes: A): tf.Tensor;
  native?: {
    /** The result, and what the backward pass needs. */
    forward(inputs: I, attributes: A): { y: tf.Tensor; save: tf.Tensor[] };
    /** One gradient for each input, in order; null where there is none. */
    backward(dy: tf.Tensor, saved: tf.Tensor[], attributes: A): (tf.Tensor | null)[];
  };
}

export interface FusedOp<I extends Tensors, A> {
  (inputs: I, attributes: A): tf.Tensor;
  readonly spec: FusedOpSpec<I, A>;
}

export function fusedOp<I extends Tensors, A = Record<string, never>>(spec: FusedOpSpec<I, A>): FusedOp<I, A> {
  const op = (inputs: I, attributes: A): tf.Tensor => {
    spec.check(inputs, attributes);
    const native = spec.native;
    if (!native || !isNative()) return tf.tidy(() => spec.reference(inputs, attributes));
    const chosen = precision();
    return taped(
      spec.name,
      inputs,
      () => native.forward(inputs, attributes),
      (dy, saved) => {
        const gradients = withPrecision(chosen, () => native.backward(dy, saved, attributes));
        return Object.fromEntries(spec.inputs.map((name, i) => [name, () => gradients[i] ?? tf.zeros(inputs[name].shape)]));
      },
    );
  };
  return Object.assign(op, { spec });
}

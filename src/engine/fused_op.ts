import { isNative } from './backend';
import { precision, withPrecision } from './precision';
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
    // Nobody will ask for gradients: what would be saved goes with the caller's scope.
    if (!(tf.engine() as unknown as { state: { activeTape: unknown } }).state.activeTape)
      return tf.tidy(() => native.forward(inputs, attributes).y);
    const chosen = precision();
    const run = tf.customGrad((...args) => {
      const save = args.pop() as unknown as (tensors: tf.Tensor[]) => void;
      const named = Object.fromEntries(spec.inputs.map((name, i) => [name, args[i]])) as I;
      const result = native.forward(named, attributes);
      save(result.save);
      return {
        value: result.y,
        gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) =>
          withPrecision(chosen, () => native.backward(dy, saved, attributes)).map((g, i) => g ?? tf.zeros((args[i] as tf.Tensor).shape)),
      };
    });
    return run(...spec.inputs.map((name) => inputs[name]));
  };
  return Object.assign(op, { spec });
}

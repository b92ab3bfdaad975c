import { isNative } from './backend';
import { precision, withPrecision } from './precision';
import { type Gradient, taped } from './tape';
import * as tf from './tf';

type Tensors = Record<string, tf.Tensor>;

/**
 * An op that may have a native kernel. Without one (another backend, or none written yet) the reference composition runs and
 * tfjs differentiates that, so the same model code works everywhere. `test/engine/check_op.ts` compares the two.
 */
export interface FusedOpSpec<I extends Tensors, A> {
  name: string;
  /** The tensors it takes (some may be absent), in the order in which `backward` returns their gradients. */
  inputs: (keyof I & string)[];
  /** Throws a ShapeError that names the shapes. */
  check(inputs: I, attributes: A): void;
  reference(inputs: I, attributes: A): tf.Tensor;
  native?: {
    /** The result, and what the backward pass needs. */
    forward(inputs: I, attributes: A): { y: tf.Tensor; save: tf.Tensor[] };
    /** One gradient for each input, in order; null where there is none. */
    backward(dy: tf.Tensor, saved: tf.Tensor[], attributes: A, asked: Asked<I>): (tf.Tensor | null)[];
    /** Saves the inputs too: the backward pass finds them in `asked`. */
    keepsInputs?: boolean;
  };
}

export interface Asked<I> {
  inputs: I;
  /** Which gradients are asked for: bit i stands for input i of the spec. The others are not looked at. */
  wanted: number;
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
    const given: Tensors = {};
    for (const name of spec.inputs) if (inputs[name]) given[name] = inputs[name];
    const kept = native.keepsInputs ? Object.values(given) : [];
    return taped(
      spec.name,
      given,
      () => {
        const { y, save } = native.forward(inputs, attributes);
        return { y, save: [...kept, ...save] };
      },
      (dy, saved, isWanted) => {
        const again: Tensors = {};
        let wanted = 0;
        for (const [i, name] of Object.keys(given).entries()) {
          if (kept.length) again[name] = saved[i];
          if (isWanted(name)) wanted |= 1 << spec.inputs.indexOf(name);
        }
        const asked = { inputs: again as I, wanted };
        const gradients = withPrecision(chosen, () => native.backward(dy, saved.slice(kept.length), attributes, asked));
        const parts: ReturnType<Gradient> = {};
        for (const [i, name] of spec.inputs.entries())
          if ((wanted >> i) & 1) parts[name] = () => gradients[i] ?? tf.zeros(given[name].shape);
        return parts;
      },
    );
  };
  return Object.assign(op, { spec });
}

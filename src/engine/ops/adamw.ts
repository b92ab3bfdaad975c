import { execute, type Handle, isNative, take } from '../backend';
import * as tf from '../tf';
import { emptyBytes, pagedBytes } from './memory';

export interface AdamWHyper {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weight_decay: number;
  /** Steps taken, this one included. */
  step: number;
  /** What gradients are multiplied by first (clipping). */
  factor: number;
}

const hyperTensor = ({ lr, beta1, beta2, eps, weight_decay, step, factor }: AdamWHyper): tf.Tensor =>
  tf.tensor1d([lr, beta1, beta2, eps, weight_decay, 1 - beta1 ** step, 1 - beta2 ** step, factor]);

/** A trained tensor, its gradient and its two moments, all of one shape. */
export interface AdamWState {
  p: tf.Tensor;
  g: tf.Tensor;
  m: tf.Tensor;
  v: tf.Tensor;
}

/**
 * One AdamW step (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) of many tensors, in the order of PyTorch's:
 * decay, moments, p -= lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps).
 * Returns p, m and v of each: the same tensors, changed in place, on the native engine, new ones elsewhere. A tensor made from a
 * typed array may share its memory: give tensors that ops have made, or whose array nobody else holds.
 */
export function adamwStep(states: AdamWState[], hyper: AdamWHyper): Omit<AdamWState, 'g'>[] {
  const { lr, beta1, beta2, eps, weight_decay, step, factor } = hyper;
  const corrections = [1 - beta1 ** step, 1 - beta2 ** step];
  if (!states.length) return [];
  if (isNative()) {
    const list = (key: keyof AdamWState) => states.map((state) => state[key]);
    tf.tidy(() => {
      execute('TunebookAdamW', [...list('p'), ...list('g'), ...list('m'), ...list('v'), hyperTensor(hyper)], { N: states.length }, 0);
    });
    return states;
  }
  return states.map(({ p, g, m, v }) =>
    tf.tidy(() => {
      const gradient = tf.mul(g, factor);
      const newM = tf.add(tf.mul(m, beta1), tf.mul(gradient, 1 - beta1));
      const newV = tf.add(tf.mul(v, beta2), tf.mul(tf.square(gradient), 1 - beta2));
      const denominator = tf.add(tf.div(tf.sqrt(newV), Math.sqrt(corrections[1])), eps);
      const newP = tf.sub(tf.mul(p, 1 - lr * weight_decay), tf.mul(tf.div(newM, denominator), lr / corrections[0]));
      return { p: newP, m: newM, v: newV };
    }),
  );
}

const BLOCK = 256;

/**
 * A moment of AdamW in 8 bits: blocks of 256 codes with their extreme value, each code one of 256 values that lie denser
 * near 0 (Dettmers et al., 2022, https://arxiv.org/abs/2110.02861). Native engine only.
 */
export class PackedMoment {
  private readonly handle: Handle;

  /** All zeros. `signed`: whether values may be negative; `folder`: where its pages may be written out to, if they may. */
  constructor(
    readonly shape: number[],
    private readonly signed: boolean,
    folder?: string,
  ) {
    const bytes = Math.ceil(this.size / BLOCK) * (4 + BLOCK);
    this.handle = folder === undefined ? emptyBytes(bytes) : pagedBytes(bytes, folder);
    this.write(tf.zeros(shape));
  }

  private get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  get packed(): Handle {
    return this.handle;
  }

  /** Its values. */
  read(): Float32Array {
    const [values] = execute('TunebookUnpackMoments', [this.handle], { size: this.size, signed: Number(this.signed) }, 1);
    const data = values.dataSync() as Float32Array;
    values.dispose();
    return data;
  }

  /** Takes values, which it disposes. What `read` gave comes back as the same codes. */
  write(values: tf.Tensor): void {
    execute('TunebookPackMoments', [this.handle, values], { signed: Number(this.signed) }, 0);
    values.dispose();
  }

  dispose(): void {
    this.handle.dispose();
  }
}

/** The same step with moments in 8 bits; p is changed in place. */
export function adamwStep8(states: { p: tf.Tensor; g: tf.Tensor; m: PackedMoment; v: PackedMoment }[], hyper: AdamWHyper): void {
  if (!states.length) return;
  tf.tidy(() => {
    const inputs = [
      ...states.map(({ p }) => p),
      ...states.map(({ g }) => g),
      ...states.map(({ m }) => m.packed),
      ...states.map(({ v }) => v.packed),
      hyperTensor(hyper),
    ];
    execute('TunebookAdamW8', inputs, { N: states.length }, 0);
  });
}

/** The Euclidean norm of all tensors together, summed in double precision in a fixed order. */
export async function globalNorm(tensors: tf.Tensor[]): Promise<number> {
  const squares = isNative()
    ? execute('TunebookSumOfSquares', tensors, { N: tensors.length }, 1)[0]
    : tf.tidy(() => tf.stack(tensors.map((tensor) => tf.sum(tf.square(tensor)))));
  return Math.sqrt((await take(squares)).reduce((a, b) => a + b, 0));
}

import * as tf from '../engine/tf';
import type { Parameter } from '../nn';

/** How AdaLoRA's budget of ranks falls, under PEFT's names. */
export interface Schedule {
  target_r: number;
  tinit: number;
  tfinal: number;
  deltaT: number;
  total_step: number;
}

/** Singular values and vectors of one module's update: e [r, 1], a [r, in], b [out, r]. */
export interface Triplets {
  a: Parameter;
  b: Parameter;
  e: Parameter;
}

/** How many singular values may stay after a step (counted from 0), and whether they are chosen anew; `first`: how many there are. */
export function budgetAt(
  step: number,
  first: number,
  target: number,
  { tinit, tfinal, deltaT, total_step }: Schedule,
): [budget: number, choose: boolean] {
  if (step <= tinit) return [first, false];
  if (step > total_step - tfinal) return [target, true];
  const left = 1 - (step - tinit) / (total_step - tfinal - tinit);
  return [Math.trunc((first - target) * left ** 3 + target), step % deltaT === 0];
}

/** What a value has meant to the loss: a running mean of |value * gradient|, and of how far that was off. */
interface Meant {
  mean: tf.Tensor;
  spread: tf.Tensor;
}

/** Keeps account of how important each value is, and of which singular values stay (Zhang et al., 2023, https://arxiv.org/abs/2303.10512, equations 9 to 12). */
export class Budget {
  private readonly meant = new Map<Parameter, Meant>();

  constructor(
    private readonly triplets: readonly Triplets[],
    private readonly betas: readonly [number, number],
  ) {}

  /** Takes a step's gradients into account. */
  weigh(gradientOf: (p: Parameter) => tf.Tensor): void {
    const [beta1, beta2] = this.betas;
    for (const { a, b, e } of this.triplets)
      for (const p of [a, b, e]) {
        const before = this.meant.get(p);
        const mixed = (old: tf.Tensor | undefined, beta: number, now: tf.Tensor) =>
          old ? tf.add(tf.mul(old, beta), tf.mul(now, 1 - beta)) : tf.mul(now, 1 - beta);
        const [mean, spread] = tf.tidy(() => {
          const now = tf.abs(tf.mul(p.tensor, gradientOf(p)));
          const average = mixed(before?.mean, beta1, now);
          return [average, mixed(before?.spread, beta2, tf.abs(tf.sub(now, average)))];
        });
        this.set(p, { mean: tf.keep(mean), spread: tf.keep(spread) });
      }
  }

  /** Which singular values of each module stay, where so many may: those whose triplets mean most. */
  choose(budget: number): boolean[][] {
    const scores = this.triplets.map(({ a, b, e }) =>
      tf.tidy(() => tf.add(tf.reshape(this.score(e), [-1]), tf.add(tf.mean(this.score(a), 1), tf.mean(this.score(b), 0))).dataSync()),
    );
    const sorted = Float32Array.from(scores.flatMap((of) => [...of])).sort();
    const gone = sorted.length - budget;
    const least = gone > 0 ? sorted[gone - 1] : Number.NEGATIVE_INFINITY;
    return scores.map((of) => Array.from(of, (score) => score > least));
  }

  private score(p: Parameter): tf.Tensor {
    const { mean, spread } = this.meant.get(p) as Meant;
    return tf.mul(mean, spread);
  }

  private set(p: Parameter, meant: Meant | undefined): void {
    const before = this.meant.get(p);
    before?.mean.dispose();
    before?.spread.dispose();
    if (meant) this.meant.set(p, meant);
    else this.meant.delete(p);
  }

  /** What it remembers of a value. */
  of(p: Parameter): Meant | undefined {
    return this.meant.get(p);
  }

  /** Remembers that again. */
  recall(p: Parameter, meant: Meant): void {
    this.set(p, meant);
  }

  /** Forgets all. */
  reset(): void {
    for (const p of [...this.meant.keys()]) this.set(p, undefined);
  }
}

import { type AdamWHyper, adamwStep } from '../engine/ops/adamw';
import * as tf from '../engine/tf';
import type { Parameter } from '../nn';

export interface AdamWOptions {
  beta1: number;
  beta2: number;
  eps: number;
  weight_decay: number;
}

/** AdamW over named parameters; its moments are plain tensors that a checkpoint can hold. */
export class AdamW {
  private readonly moments = new Map<string, [m: tf.Tensor, v: tf.Tensor]>();
  /** Steps taken. */
  step = 0;

  constructor(
    private readonly parameters: Map<string, Parameter>,
    private readonly options: AdamWOptions,
  ) {
    for (const [name, { tensor }] of parameters) this.moments.set(name, [tf.keep(tf.zeros(tensor.shape)), tf.keep(tf.zeros(tensor.shape))]);
  }

  /** Updates every parameter by its gradient times `factor`. */
  apply(gradients: Map<string, tf.Tensor>, lr: number, factor: number): void {
    this.step++;
    // Weight decay leaves biases and norms alone; low-rank factors are matrices.
    const [plain, decayed] = [[], []] as [string, Parameter][][];
    for (const entry of this.parameters) (entry[1].tensor.rank < 2 ? plain : decayed).push(entry);
    const hyper = { ...this.options, lr, step: this.step, factor };
    this.update(plain, gradients, { ...hyper, weight_decay: 0 });
    this.update(decayed, gradients, hyper);
  }

  private update(entries: [string, Parameter][], gradients: Map<string, tf.Tensor>, hyper: AdamWHyper): void {
    const states = entries.map(([name, { tensor }]) => {
      const [m, v] = this.moments.get(name) as [tf.Tensor, tf.Tensor];
      return { p: tensor, g: gradients.get(name) as tf.Tensor, m, v };
    });
    for (const [i, { p, m, v }] of adamwStep(states, hyper).entries()) {
      const [name, parameter] = entries[i];
      if (p === parameter.tensor) continue; // changed in place
      for (const tensor of [p, m, v]) tf.keep(tensor);
      parameter.assign(p);
      states[i].m.dispose();
      states[i].v.dispose();
      this.moments.set(name, [m, v]);
    }
  }

  /** Its state by name: '<parameter>.exp_avg' and '.exp_avg_sq', as PyTorch calls them. */
  *state(): Generator<{ name: string; shape: number[]; data: Float32Array }> {
    for (const [name, [m, v]] of this.moments) {
      yield { name: `${name}.exp_avg`, shape: m.shape, data: m.dataSync() as Float32Array };
      yield { name: `${name}.exp_avg_sq`, shape: v.shape, data: v.dataSync() as Float32Array };
    }
  }

  restore(step: number, read: (name: string, shape: number[]) => tf.Tensor): void {
    this.step = step;
    for (const [name, [m, v]] of this.moments) {
      const next: [tf.Tensor, tf.Tensor] = [tf.keep(read(`${name}.exp_avg`, m.shape)), tf.keep(read(`${name}.exp_avg_sq`, v.shape))];
      m.dispose();
      v.dispose();
      this.moments.set(name, next);
    }
  }

  dispose(): void {
    for (const pair of this.moments.values()) for (const tensor of pair) tensor.dispose();
    this.moments.clear();
  }
}

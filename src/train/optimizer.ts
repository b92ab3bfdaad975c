import { adamwStep } from '../engine/ops/adamw';
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
    for (const [name, parameter] of this.parameters) {
      const [m, v] = this.moments.get(name) as [tf.Tensor, tf.Tensor];
      // Weight decay leaves biases and norms alone; low-rank factors are matrices.
      const weight_decay = parameter.tensor.rank < 2 ? 0 : this.options.weight_decay;
      const updated = adamwStep(parameter.tensor, gradients.get(name) as tf.Tensor, m, v, {
        ...this.options,
        weight_decay,
        lr,
        step: this.step,
        factor,
      });
      for (const tensor of updated) tf.keep(tensor);
      parameter.assign(updated[0]);
      m.dispose();
      v.dispose();
      this.moments.set(name, [updated[1], updated[2]]);
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

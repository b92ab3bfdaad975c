import { add } from '../engine/ops/add';
import type { PlannedBlock } from '../engine/ops/decode';
import { gatedMlp, isGate } from '../engine/ops/gated_mlp';
import * as tf from '../engine/tf';
import { ACTIVATIONS, Linear, Module, printedActivation, type RMSNorm } from '../nn';

/** What a decoder's feed-forward layer is to its block. */
export interface FeedForward extends Module {
  /** x [..., hidden], not yet normed -> x + mlp(norm(x)) [..., hidden]; without `residual` what would be added alone. */
  forward(x: tf.Tensor, norm: RMSNorm, residual?: boolean): tf.Tensor;
  /** As the decode op takes it. */
  planned(): Pick<PlannedBlock, 'gate' | 'up' | 'down'>;
}

/** A feed-forward layer with a gate (Shazeer, 2020, https://arxiv.org/abs/2002.05202), its norm and its residual connection around it. */
export class GatedMLP extends Module implements FeedForward {
  constructor(
    private readonly act: string,
    readonly gate_proj: Linear,
    readonly up_proj: Linear,
    readonly down_proj: Linear,
  ) {
    super();
  }

  protected override get role(): string {
    return 'MLP';
  }

  override printedParts(): [string, string][] {
    return [['act_fn', printedActivation(this.act)]];
  }

  planned(): ReturnType<FeedForward['planned']> {
    return { gate: this.gate_proj.planned(), up: this.up_proj.planned(), down: this.down_proj.planned() };
  }

  forward(x: tf.Tensor, norm: RMSNorm, residual = true): tf.Tensor {
    const { gate_proj: gate, up_proj: up, down_proj: down } = this;
    const { act } = this;
    const all = isGate(act) ? Linear.together({ gate, up, down }, 'down') : undefined;
    if (all && isGate(act)) return gatedMlp({ x, gain: norm.gain, ...all.tensors }, { ...all.projections, eps: norm.eps, act, residual });
    const n = norm.forward(x);
    const y = down.forward(ACTIVATIONS[act](gate.forward(n), up.forward(n)));
    return residual ? add({ a: x, b: y }, {}) : y;
  }
}

/** The same with one matrix for the gate and what it lets through. */
export class JoinedGatedMLP extends Module implements FeedForward {
  constructor(
    private readonly act: string,
    readonly gate_up_proj: Linear,
    readonly down_proj: Linear,
  ) {
    super();
  }

  protected override get role(): string {
    return 'MLP';
  }

  override printedParts(): [string, string][] {
    return [['activation_fn', printedActivation(this.act)]];
  }

  planned(): ReturnType<FeedForward['planned']> {
    return { up: this.gate_up_proj.planned(), down: this.down_proj.planned() };
  }

  forward(x: tf.Tensor, norm: RMSNorm, residual = true): tf.Tensor {
    const [gate, up] = tf.split(this.gate_up_proj.forward(norm.forward(x)), 2, -1);
    const y = this.down_proj.forward(ACTIVATIONS[this.act](gate, up));
    return residual ? add({ a: x, b: y }, {}) : y;
  }
}

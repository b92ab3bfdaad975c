import { checkFlags } from '../core/options';
import { product } from '../engine/ops/linear';
import * as tf from '../engine/tf';
import { Made, type Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { kaiming, LinearConfig, type Place, zeros } from './linear_config';
import { LinearTerm } from './linear_term';
import { checkLycoris, LYCORIS, LYCORIS_FIELDS, type LycorisOptions } from './lycoris';
import type { Applied, BaseModel, OptionsSpec } from './method';
import { checkRank, picked } from './ranks';

/** Options of LoHa under PEFT's names (peft 0.21), with its defaults. */
export interface LoHaOptions extends LycorisOptions {
  /** Whether an adapter begins without effect; false: all factors random. Default: true. */
  init_weights: boolean;
}

export interface LoHaConfig extends LoHaOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * LoHa (Hyeon-Woo et al., 2021, https://arxiv.org/abs/2108.06098): y = W x + alpha / r * ((A1 B1) . (A2 B2)) x, the elementwise product of two low-rank matrices, whose
 * rank may be r * r.
 */
export class LoHaConfig extends LinearConfig<LoHaOptions> {
  static readonly spec: OptionsSpec<LoHaOptions> = {
    peft_type: 'LOHA',
    owner: 'LoHaConfig',
    tuner: 'LoHaModel',
    defaults: { ...LYCORIS, init_weights: true },
    fields: LYCORIS_FIELDS,
  };

  protected override checkOwn(): void {
    checkLycoris('LoHaConfig', this);
    checkFlags('LoHaConfig', this, 'init_weights');
  }

  get summary(): string {
    return `A LoHa adapter (r = ${this.r}, alpha = ${this.alpha})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    return this.each(model, how, (place) => this.term(place));
  }

  protected override get patterns() {
    const { rank_pattern, alpha_pattern } = this;
    return { rank_pattern, alpha_pattern };
  }

  private term({ layer, path, random, saved, serial }: Place): LinearTerm {
    const { inFeatures: into, outFeatures: out } = layer;
    const { r, alpha } = picked(this, path, this.r, this.alpha);
    checkRank('LoHaConfig', 'r', r, path, layer.weight.shape, { saved });
    const [a1, b1, a2] = [kaiming([out, r], random), kaiming([r, into], random), kaiming([out, r], random)];
    const b2 = this.init_weights ? zeros([r, into]) : kaiming([r, into], random);
    const parameters = { hada_w1_a: a1, hada_w1_b: b1, hada_w2_a: a2, hada_w2_b: b2 };
    const scale = alpha / r;
    // As a pair of rank r * r where that is less work than a whole matrix.
    const standing =
      r * r * (into + out) < into * out
        ? { pair: { a: rows(b1, b2), b: columns(a1, a2), scale, dropout: 0, serial } }
        : { beside: { adds: (x: tf.Tensor) => product(x, dense(a1, b1, a2, b2, scale)) } };
    return new LinearTerm(layer, parameters, standing, { name: 'loha.Linear', parts: parameters });
  }
}

/** [r, n], [r, n] -> [r * r, n]: every row of one times every row of the other. */
const rows = (x: Parameter, y: Parameter): Made => {
  const [r, n] = x.shape;
  return new Made([r * r, n], () => tf.reshape(tf.mul(tf.reshape(x.tensor, [r, 1, n]), tf.reshape(y.tensor, [1, r, n])), [r * r, n]));
};

/** [n, r], [n, r] -> [n, r * r]: every column of one times every column of the other. */
const columns = (x: Parameter, y: Parameter): Made => {
  const [n, r] = x.shape;
  return new Made([n, r * r], () => tf.reshape(tf.mul(tf.reshape(x.tensor, [n, r, 1]), tf.reshape(y.tensor, [n, 1, r])), [n, r * r]));
};

const dense = (a1: Parameter, b1: Parameter, a2: Parameter, b2: Parameter, scale: number): tf.Tensor => {
  const [one, two] = [
    [a1, b1],
    [a2, b2],
  ].map(([a, b]) => tf.matMul(a.tensor as tf.Tensor2D, b.tensor as tf.Tensor2D));
  return tf.mul(tf.mul(one, two), scale);
};

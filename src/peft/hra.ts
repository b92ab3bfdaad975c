import { warnOnce } from '../core/events';
import { checkFlags, checkNumber } from '../core/options';
import { inverse } from '../engine/decompose';
import * as tf from '../engine/tf';
import { type Linear, Made, type Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { BIAS, kaiming, LinearConfig, type Place } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { checkRank } from './ranks';
import { NO_TARGETS, type Targets } from './targets';

/** Options of HRA under PEFT's names (peft 0.21), with its defaults. */
export interface HRAOptions extends CommonOptions, Targets {
  /** How many reflections follow each other; with an even number an adapter begins without effect. Default: 8. */
  r: number;
  /** Whether the reflections' planes are made orthogonal to each other first; not beside reflections in pairs. Default: false. */
  apply_GS: boolean;
  /** Whether an even number of reflections begins in pairs that undo each other; false: all random. Default: true. */
  init_weights: boolean;
}

export interface HRAConfig extends HRAOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * HRA (Yuan et al., 2024, https://arxiv.org/abs/2405.17484): y = W H_1 ... H_r x, with Householder reflections H_i = I - 2 u_i u_i^T. Their product is I - V T V^T with the
 * normed u as columns of V and T = (I / 2 + the upper part of V^T V)^-1 (Joffrain et al., 2006, theorem 1), so beside W there is the low-rank pair of V^T and
 * -(W V) T, and no whole matrix is made.
 */
export class HRAConfig extends LinearConfig<HRAOptions> {
  static readonly spec: OptionsSpec<HRAOptions> = {
    peft_type: 'HRA',
    owner: 'HRAConfig',
    tuner: 'HRAModel',
    defaults: { ...COMMON, ...NO_TARGETS, r: 8, apply_GS: false, init_weights: true },
    fields: BIAS,
  };

  protected override checkOwn(saved: boolean): void {
    checkNumber('HRAConfig', 'r', this.r, { integer: true, min: 1 }, 'It is the number of reflections; 8 is usual.');
    checkFlags('HRAConfig', this, 'apply_GS', 'init_weights');
    // Nothing of a plane is left when itself is taken out of it: PEFT divides by zero there.
    if (this.apply_GS && this.isPaired && !saved)
      this.refuse(
        'apply_GS',
        `does not go with reflections that begin in equal pairs, as those of an even r (${this.r}) do. Set init_weights: false.`,
      );
  }

  private get isPaired(): boolean {
    return this.init_weights && this.r % 2 === 0;
  }

  get summary(): string {
    return `An HRA adapter (r = ${this.r})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    if (this.init_weights && this.r % 2 && !how.saved)
      warnOnce(
        `HRAConfig: r is ${this.r}, which is odd, so the adapter changes the model's answers from the first. An even r begins without effect.`,
      );
    return this.each(model, how, (place) => this.term(place));
  }

  private term({ layer, path, random, saved }: Place): LinearTerm {
    const { r, apply_GS: orthogonal } = this;
    const { inFeatures: into, outFeatures: out } = layer;
    checkRank('HRAConfig', 'r', r, path, [into, into], { saved });
    const u = kaiming([into, r], random);
    if (this.isPaired) {
      const half = kaiming([into, r / 2], random);
      u.assign(tf.keep(tf.tidy(() => tf.reshape(tf.tile(tf.expandDims(half.tensor, 2), [1, 1, 2]), [into, r]))));
      half.dispose();
    }
    const pair = {
      a: new Made([r, into], () => tf.transpose(normed(u))),
      b: new Made([out, r], () => through(layer, normed(u), orthogonal)),
      ...{ scale: 1, dropout: 0, serial: 0 },
    };
    return new LinearTerm(layer, { hra_u: u }, { pair, only: true }, { name: 'hra.HRALinear', parts: { hra_u: u } });
  }
}

/** Columns of length 1. [in, r] */
const normed = ({ tensor }: Parameter): tf.Tensor2D => tf.div(tensor, tf.norm(tensor, 2, 0, true));

/** -(W V) T: [out, r] */
function through(layer: Linear, v: tf.Tensor2D, orthogonal: boolean): tf.Tensor {
  const products = tf.matMul(v, v, true);
  const r = products.shape[0];
  // Orthogonal planes span what they did before: the reflections at all of them are I - 2 V (V^T V)^-1 V^T.
  const upper = orthogonal
    ? tf.div(products, 2)
    : tf.add(tf.mul(tf.eye(r), 0.5), tf.mul(products, tf.linalg.bandPart(tf.sub(tf.ones([r, r]), tf.eye(r)), 0, -1)));
  return tf.neg(tf.matMul(tf.transpose(layer.times(tf.transpose(v), layer.owned('weight'))), inverse(upper) as tf.Tensor2D));
}

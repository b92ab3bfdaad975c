import { checkFlags, show } from '../core/options';
import { product } from '../engine/ops/linear';
import * as tf from '../engine/tf';
import type { Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { kaiming, LinearConfig, type Place, zeros } from './linear_config';
import { LinearTerm } from './linear_term';
import { checkLycoris, LYCORIS, LYCORIS_FIELDS, type LycorisOptions } from './lycoris';
import type { Applied, BaseModel, OptionsSpec } from './method';
import { picked } from './ranks';

/** Options of LoKr under PEFT's names (peft 0.21), with its defaults. */
export interface LoKrOptions extends LycorisOptions {
  /** Whether the left factor is made of two of rank r too. Default: false. */
  decompose_both: boolean;
  /** About how large the left factor is; -1: as near to the root of the matrix's size as can be. Default: -1. */
  decompose_factor: number;
  /** Whether an adapter begins without effect, the left factor zero; 'lycoris': the right one; false: all factors random. Default: true. */
  init_weights: boolean | 'lycoris';
}

export interface LoKrConfig extends LoKrOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * LoKr (Yeh et al., 2023, https://arxiv.org/abs/2309.14859): y = W x + alpha / r * (W1 (x) W2) x, a Kronecker product, whose factors may be products of rank r themselves:
 * the update of KronA (https://arxiv.org/abs/2212.10650). The product is never made: x is split as [m, n], W2 works on n and W1 on m.
 */
export class LoKrConfig extends LinearConfig<LoKrOptions> {
  static readonly spec: OptionsSpec<LoKrOptions> = {
    peft_type: 'LOKR',
    owner: 'LoKrConfig',
    tuner: 'LoKrModel',
    defaults: { ...LYCORIS, decompose_both: false, decompose_factor: -1, init_weights: true },
    fields: { ...LYCORIS_FIELDS, rank_dropout_scale: { unused: false } },
  };

  protected override checkOwn(): void {
    checkLycoris('LoKrConfig', this);
    checkFlags('LoKrConfig', this, 'decompose_both');
    if (!Number.isInteger(this.decompose_factor) || (this.decompose_factor < 1 && this.decompose_factor !== -1))
      this.refuse('decompose_factor', 'must be -1 or a whole number of at least 1.');
    if (typeof this.init_weights !== 'boolean' && this.init_weights !== 'lycoris')
      this.refuse('init_weights', `must be true, false or ${show('lycoris')}.`);
  }

  get summary(): string {
    return `A LoKr adapter (r = ${this.r}, alpha = ${this.alpha})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    return this.each(model, how, (place) => this.term(place));
  }

  protected override get patterns() {
    const { rank_pattern, alpha_pattern } = this;
    return { rank_pattern, alpha_pattern };
  }

  private term({ layer, path, random }: Place): LinearTerm {
    const { r, alpha } = picked(this, path, this.r, this.alpha);
    const [m, n] = factorization(layer.inFeatures, this.decompose_factor);
    const [l, k] = factorization(layer.outFeatures, this.decompose_factor);
    const { init_weights: init } = this;
    const factor = (name: string, [rows, columns]: [number, number], split: boolean, zero: 'first' | 'last' | undefined) => {
      if (!split) return { [name]: zero ? zeros([rows, columns]) : kaiming([rows, columns], random) };
      return {
        [`${name}_a`]: zero === 'first' ? zeros([rows, r]) : kaiming([rows, r], random),
        [`${name}_b`]: zero === 'last' ? zeros([r, columns]) : kaiming([r, columns], random),
      };
    };
    const left = factor('lokr_w1', [l, m], this.decompose_both && r < Math.max(l, m) / 2, init === true ? 'first' : undefined);
    const right = factor('lokr_w2', [k, n], r < Math.max(k, n) / 2, init === 'lycoris' ? 'last' : undefined);
    const parameters: Record<string, Parameter> = { ...left, ...right };
    const adds = (x: tf.Tensor) => kronecker(x, Object.values(left), Object.values(right), alpha / r);
    return new LinearTerm(layer, parameters, { beside: { adds } }, { name: 'lokr.Linear', parts: parameters });
  }
}

/** scale * (left (x) right) x; each factor is one matrix, or two whose product it is. x [..., m * n] -> [..., l * k] */
function kronecker(x: tf.Tensor, left: Parameter[], right: Parameter[], scale: number): tf.Tensor {
  const n = right.at(-1)?.shape[1] as number;
  const m = left.at(-1)?.shape[1] as number;
  const [l, k] = [left[0].shape[0], right[0].shape[0]];
  const through = (y: tf.Tensor, matrices: Parameter[]) => matrices.reduceRight((z, { tensor }) => product(z, tensor), y);
  const across = (y: tf.Tensor) => tf.transpose(y, [0, 2, 1]);
  const [outer, inner] = right.length === 2 ? [right.slice(0, 1), right.slice(1)] : k > n ? [right, []] : [[], right];
  const low = through(tf.reshape(x, [-1, m, n]), inner); // [tokens, m, rank or n or k]
  const mixed = across(through(across(low), left)); // [tokens, l, the same]
  return tf.mul(tf.reshape(through(mixed, outer), [...x.shape.slice(0, -1), l * k]), scale);
}

/** Two numbers whose product is `dimension`, the first the smaller: as PEFT splits it. */
function factorization(dimension: number, factor: number): [number, number] {
  if (factor > 0 && dimension % factor === 0) return [factor, dimension / factor];
  const most = factor === -1 ? dimension : factor;
  let [m, n] = [1, dimension];
  const length = m + n;
  while (m < n) {
    let next = m + 1;
    while (dimension % next) next++;
    if (next + dimension / next > length || next > most) break;
    [m, n] = [next, dimension / next];
  }
  return m > n ? [n, m] : [m, n];
}

import { checkFlags, checkNumber } from '../core/options';
import { TorchRandom } from '../core/torch_random';
import * as tf from '../engine/tf';
import { type Linear, Made, Parameter } from '../nn';
import { ModuleAdapter } from './adapter';
import { BIAS, drawn, LinearConfig, ones, type Place, TURNED, zeros } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { dropoutText } from './printed';
import type { Targets } from './targets';

/** Options of VeRA under PEFT's names (peft 0.21), with its defaults. */
export interface VeraOptions extends CommonOptions, Omit<Targets, 'exclude_modules'> {
  /** How many random directions all layers share; more than a rank of LoRA's, since few values are trained. Default: 256. */
  r: number;
  /** The seed of the random matrices, as torch draws them. Default: 0. */
  projection_prng_key: number;
  /** Whether the random matrices are saved with the adapter; otherwise whoever loads it draws them anew. Default: true. */
  save_projection: boolean;
  /** Share of the inputs that are dropped while training. Default: 0. */
  vera_dropout: number;
  /** What the trained directions' lengths begin with. Default: 0.1. */
  d_initial: number;
  /** Whether the vectors begin so that nothing changes; false: at random. Default: true. */
  init_weights: boolean;
}

const DEFAULTS: VeraOptions = {
  ...COMMON,
  r: 256,
  target_modules: null,
  projection_prng_key: 0,
  save_projection: true,
  vera_dropout: 0,
  d_initial: 0.1,
  init_weights: true,
  layers_to_transform: null,
  layers_pattern: null,
};

export interface VeraConfig extends VeraOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * VeRA (Kopiczko et al., 2023, https://arxiv.org/abs/2310.11454): y = W x + b * (B (d * (A x))). The matrices A and B are random, frozen and shared by all layers, each
 * of which takes as much of them as it has room for; the vectors b and d are trained.
 */
export class VeraConfig extends LinearConfig<VeraOptions> {
  static readonly spec: OptionsSpec<VeraOptions> = {
    peft_type: 'VERA',
    owner: 'VeraConfig',
    tuner: 'VeraModel',
    defaults: DEFAULTS,
    fields: { ...BIAS, ...TURNED },
  };

  protected override checkOwn(saved: boolean): void {
    checkNumber('VeraConfig', 'r', this.r, { integer: true, min: 1 }, 'It is the number of random directions; 256 is usual.');
    checkNumber('VeraConfig', 'vera_dropout', this.vera_dropout, { min: 0, below: 1 }, 'It is a share.');
    checkNumber('VeraConfig', 'd_initial', this.d_initial, {}, '0.1 or less is usual.');
    if (!Number.isSafeInteger(this.projection_prng_key)) this.refuse('projection_prng_key', 'must be a whole number: it is a seed.');
    checkFlags('VeraConfig', this, 'save_projection', 'init_weights');
    if (!saved && !this.init_weights && this.d_initial !== DEFAULTS.d_initial)
      this.refuse('d_initial', 'has no effect with init_weights: false, by which lengths begin at random. Leave it out.');
  }

  get summary(): string {
    return `A VeRA adapter (r = ${this.r})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    const layers = this.layers(model, how.saved);
    const most = (size: (layer: Linear) => number) => Math.max(...[...layers.values()].map(size));
    const random = new TorchRandom(this.projection_prng_key);
    const project = (rows: number, columns: number) => {
      const bound = Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(columns));
      const matrix = drawn([rows, columns], () => random.uniform(-bound, bound));
      return new Parameter(matrix.tensor, false);
    };
    const a = project(
      this.r,
      most((layer) => layer.inFeatures),
    );
    const b = project(
      most((layer) => layer.outFeatures),
      this.r,
    );
    let terms: ReturnType<VeraConfig['terms']>;
    try {
      terms = this.terms(layers, how, (place) => this.term(place, a, b));
    } catch (error) {
      for (const matrix of [a, b]) matrix.dispose();
      throw error;
    }
    const both = { 'base_model.vera_A': a, 'base_model.vera_B': b };
    return new ModuleAdapter(terms, this.save_projection ? { others: both } : { held: [a, b] });
  }

  private term({ layer, random, serial }: Place, a: Parameter, b: Parameter): LinearTerm {
    const { inFeatures: into, outFeatures: out } = layer;
    const { r, d_initial, init_weights } = this;
    const lengths = drawn([r], () => (init_weights ? d_initial : random.normal()));
    const outputs = init_weights ? zeros([out]) : ones([out]);
    const pair = {
      a: new Made([r, into], () => tf.mul(tf.slice(a.tensor, [0, 0], [r, into]), tf.reshape(lengths.tensor, [r, 1]))),
      b: new Made([out, r], () => tf.mul(tf.slice(b.tensor, [0, 0], [out, r]), tf.reshape(outputs.tensor, [out, 1]))),
      ...{ scale: 1, dropout: this.vera_dropout, serial },
    };
    const words = {
      name: 'vera.Linear',
      parts: { vera_dropout: dropoutText(this.vera_dropout), vera_lambda_b: outputs, vera_lambda_d: lengths },
    };
    return new LinearTerm(layer, { vera_lambda_b: outputs, vera_lambda_d: lengths }, { pair }, words);
  }
}

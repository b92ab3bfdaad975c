import { warnOnce } from '../core/events';
import { checkFlags, checkNumber } from '../core/options';
import * as tf from '../engine/tf';
import type { Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { BIAS, drawn, LinearConfig, type Place, TURNED } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { cayley, inBlocks } from './rotations';
import { NO_TARGETS, type Targets } from './targets';

/** Options of OFT under PEFT's names (peft 0.21), with its defaults. */
export interface OFTOptions extends CommonOptions, Targets {
  /** How many blocks the inputs are split into; 0: as oft_block_size says. Default: 0. */
  r: number;
  /** How many inputs are turned together; 0: as r says. Default: 32. */
  oft_block_size: number;
  /** Whether all blocks are turned alike. Default: false. */
  block_share: boolean;
  /** Whether the rotation is found as a sum of powers, which is faster and only nearly a rotation. Default: true. */
  use_cayley_neumann: boolean;
  /** How many terms that sum has; as in PEFT 3 are the same as 4. Default: 5. */
  num_cayley_neumann_terms: number;
  /** Whether nothing is turned at first; false: at random. Default: true. */
  init_weights: boolean;
}

const DEFAULTS: OFTOptions = {
  ...COMMON,
  ...NO_TARGETS,
  r: 0,
  oft_block_size: 32,
  block_share: false,
  use_cayley_neumann: true,
  num_cayley_neumann_terms: 5,
  init_weights: true,
};

export interface OFTConfig extends OFTOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * OFT (Qiu et al., 2023, https://arxiv.org/abs/2306.07280), turning inputs as OFTv2 does (https://arxiv.org/abs/2506.19847): y = W (x R) with R of rotations (I - Q)(I + Q)^-1 of blocks of inputs, Q skew,
 * of which the upper triangles are trained. As a sum of powers: I + 2 Q + 2 Q^2 + ... + Q^k.
 */
export class OFTConfig extends LinearConfig<OFTOptions> {
  static readonly spec: OptionsSpec<OFTOptions> = {
    peft_type: 'OFT',
    owner: 'OFTConfig',
    tuner: 'OFTModel',
    defaults: DEFAULTS,
    fields: {
      ...BIAS,
      ...TURNED,
      module_dropout: { unused: 0, would: 'leave rotations out while training' },
      coft: { unused: false, would: 'keep rotations near none (COFT)' },
      eps: { unused: 6e-5 }, // of coft
      peft_version: { unused: '0.21.2' }, // without it PEFT takes the rotations for those of older versions
    },
  };

  protected override checkOwn(saved: boolean): void {
    const remedy = 'Give either r or oft_block_size, and 0 for the other: their product is the number of inputs.';
    checkNumber('OFTConfig', 'r', this.r, { integer: true, min: 0 }, remedy);
    checkNumber('OFTConfig', 'oft_block_size', this.oft_block_size, { integer: true, min: 0 }, remedy);
    if (Boolean(this.r) === Boolean(this.oft_block_size))
      this.refuse('r', `goes with oft_block_size = ${this.oft_block_size} badly. ${remedy}`);
    checkNumber('OFTConfig', 'num_cayley_neumann_terms', this.num_cayley_neumann_terms, { integer: true, min: 1 }, '5 is usual.');
    checkFlags('OFTConfig', this, 'block_share', 'use_cayley_neumann', 'init_weights');
    if (!saved && !this.use_cayley_neumann && this.num_cayley_neumann_terms !== DEFAULTS.num_cayley_neumann_terms)
      this.refuse('num_cayley_neumann_terms', 'has no effect with use_cayley_neumann: false. Leave it out.');
  }

  get summary(): string {
    return `An OFT adapter (${this.r ? `r = ${this.r}` : `oft_block_size = ${this.oft_block_size}`})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    return this.each(model, how, (place) => this.term(place));
  }

  private term({ layer, path, random }: Place): LinearTerm {
    const { inFeatures: into } = layer;
    const name = this.r ? 'r' : 'oft_block_size';
    const wanted = this[name];
    const fits = into % wanted ? nearestDivisor(into, wanted) : wanted;
    if (fits !== wanted)
      warnOnce(`OFTConfig: ${name} = ${wanted} does not divide the ${into} inputs of ${path}; ${fits} is taken, as in PEFT.`);
    const size = this.r ? into / fits : fits;
    const upper = drawn([this.block_share ? 1 : into / size, (size * (size - 1)) / 2], () =>
      this.init_weights ? 0 : 0.1 * random.normal(),
    );
    const places = triangle(size);
    const turns = (x: tf.Tensor) => inBlocks(x, this.rotations(upper, size, places));
    return new LinearTerm(
      layer,
      { 'oft_R.weight': upper },
      { beside: { turns } },
      { name: 'oft.Linear', parts: { oft_R: 'OFTRotationModule()' } },
    );
  }

  /** [blocks, size, size] */
  private rotations(upper: Parameter, size: number, { places, signs }: ReturnType<typeof triangle>): tf.Tensor {
    const padded = tf.pad(upper.tensor as tf.Tensor2D, [[0, 0], [1, 0]]); // biome-ignore format: pairs
    const q = tf.mul(tf.reshape(tf.gather(padded, tf.tensor1d(places, 'int32'), 1), [-1, size, size]), tf.tensor(signs, [size, size]));
    if (!this.use_cayley_neumann) return cayley(q);
    const terms = this.num_cayley_neumann_terms;
    const last = terms < 3 ? terms - 1 : Math.max(terms - 1, 3); // as in PEFT three terms are four
    let sum: tf.Tensor = tf.add(tf.zerosLike(q), tf.eye(size));
    let power: tf.Tensor | undefined;
    for (let i = 1; i <= last; i++) {
      power = power ? tf.matMul(power, q) : q;
      sum = tf.add(sum, i > 2 && i === last ? power : tf.mul(power, 2));
    }
    return sum;
  }
}

/** Where each entry of a skew matrix stands among its upper triangle's, counted from 1, and with which sign. */
function triangle(size: number): { places: Int32Array; signs: Float32Array } {
  const places = new Int32Array(size * size);
  const signs = new Float32Array(size * size);
  let at = 0;
  for (let i = 0; i < size; i++)
    for (let j = i + 1; j < size; j++) {
      at++;
      places[i * size + j] = at;
      places[j * size + i] = at;
      signs[i * size + j] = 1;
      signs[j * size + i] = -1;
    }
  return { places, signs };
}

/** The divisor that is nearest to what was asked for; of two the smaller. */
function nearestDivisor(n: number, wanted: number): number {
  if (wanted >= n) return n;
  for (let away = 0; ; away++) for (const found of [wanted - away, wanted + away]) if (found > 0 && n % found === 0) return found;
}

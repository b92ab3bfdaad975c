import { OptionError } from '../core/errors';
import { checkFlags, checkNumber } from '../core/options';
import * as tf from '../engine/tf';
import { Made, type Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { BIAS, drawn, LinearConfig, type Place, TURNED } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { cayley, inBlocks } from './rotations';
import { NO_TARGETS, type Targets } from './targets';

/** Options of BOFT under PEFT's names (peft 0.21), with its defaults. */
export interface BOFTOptions extends CommonOptions, Targets {
  /** How many inputs are turned together; 0: as boft_block_num says. Default: 4. */
  boft_block_size: number;
  /** How many blocks the inputs are split into; 0: as boft_block_size says. Default: 0. */
  boft_block_num: number;
  /** How many rotations follow each other, each of other blocks, as in a fast Fourier transform. PEFT itself takes 1 where it has no CUDA. Default: 1. */
  boft_n_butterfly_factor: number;
  /** Whether nothing changes at first; false: at random. Default: true. */
  init_weights: boolean;
}

const DEFAULTS: BOFTOptions = {
  ...COMMON,
  ...NO_TARGETS,
  boft_block_size: 4,
  boft_block_num: 0,
  boft_n_butterfly_factor: 1,
  init_weights: true,
};

export interface BOFTConfig extends BOFTOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * BOFT (Liu et al., 2023, https://arxiv.org/abs/2311.06243): y = s * (W (x B_m ... B_1)) + bias, where each B_i turns blocks of inputs by (I - Q)(I + Q)^-1, Q = (R - R^T) / 2, the inputs
 * being sorted before it and after it as in a butterfly. R and the scales s are trained.
 */
export class BOFTConfig extends LinearConfig<BOFTOptions> {
  static readonly spec: OptionsSpec<BOFTOptions> = {
    peft_type: 'BOFT',
    owner: 'BOFTConfig',
    tuner: 'BOFTModel',
    defaults: DEFAULTS,
    fields: { ...BIAS, ...TURNED, boft_dropout: { unused: 0, would: 'leave rotations out while training' } },
  };

  protected override checkOwn(): void {
    const remedy = 'Give either boft_block_size or boft_block_num, and 0 for the other: their product is the number of inputs.';
    for (const name of ['boft_block_size', 'boft_block_num'] as const)
      checkNumber('BOFTConfig', name, this[name], { integer: true, min: 0 }, remedy);
    if (Boolean(this.boft_block_size) === Boolean(this.boft_block_num))
      this.refuse('boft_block_num', `goes with boft_block_size = ${this.boft_block_size} badly. ${remedy}`);
    checkNumber('BOFTConfig', 'boft_n_butterfly_factor', this.boft_n_butterfly_factor, { integer: true, min: 1 }, '1 or 2 are common.');
    checkFlags('BOFTConfig', this, 'init_weights');
  }

  get summary(): string {
    return `A BOFT adapter (${this.boft_block_num ? `boft_block_num = ${this.boft_block_num}` : `boft_block_size = ${this.boft_block_size}`})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    return this.each(model, how, (place) => this.term(place));
  }

  private term({ layer, path, random }: Place): LinearTerm {
    const { inFeatures: into, outFeatures: out } = layer;
    const factors = this.boft_n_butterfly_factor;
    const given = this.boft_block_num || this.boft_block_size;
    const blocks = this.boft_block_num || into / this.boft_block_size;
    const size = into / blocks;
    if (into % given)
      throw new OptionError(`BOFTConfig: blocks by ${given} do not divide the ${into} inputs of ${path}. Choose a divisor.`);
    if (factors > 1 && (size % 2 || blocks % 2 ** (factors - 1)))
      throw new OptionError(
        `BOFTConfig: boft_n_butterfly_factor = ${factors} needs blocks of an even size, and a number of them that ${2 ** (factors - 1)} divides; ${path} has ${blocks} of ${size}.`,
      );
    const normal = (around: number) => () => around + 0.1 * random.normal();
    const r = drawn([factors, blocks, size, size], this.init_weights ? () => 0 : normal(0));
    const s = drawn([out, 1], this.init_weights ? () => 1 : normal(1));
    const orders = Array.from({ length: factors }, (_, i) => (factors > 1 ? butterfly(into, blocks / 2 ** i, size / 2) : undefined));
    const turns = (x: tf.Tensor) => turned(x, r, orders);
    const scale = Object.assign(new Made([out, 1], () => tf.clone(s.tensor)), { sparesBias: true });
    const parameters = { boft_R: r, boft_s: s };
    return new LinearTerm(layer, parameters, { scale, beside: { turns } }, { name: 'boft.Linear', parts: parameters });
  }
}

/** x B_m ... B_1 */
function turned(x: tf.Tensor, r: Parameter, orders: (number[] | undefined)[]): tf.Tensor {
  const [factors, blocks, size] = r.shape;
  const all = tf.reshape(r.tensor, [factors * blocks, size, size]);
  const rotations = cayley(tf.div(tf.sub(all, tf.transpose(all, [0, 2, 1])), 2));
  const sorted = (y: tf.Tensor, order?: number[]) => (order ? tf.gather(y, tf.tensor1d(order, 'int32'), -1) : y);
  let y = x;
  for (let i = factors - 1; i >= 0; i--) {
    const order = orders[i];
    const back = order?.reduce<number[]>((places, from, at) => Object.assign(places, { [from]: at }), []);
    y = sorted(inBlocks(sorted(y, back), tf.slice(rotations, [i * blocks, 0, 0], [blocks, size, size])), order);
  }
  return y;
}

/** Where the inputs stand for one rotation: in each of so many groups halves of blocks, first those at even places, then those at odd ones. */
function butterfly(inputs: number, groups: number, half: number): number[] {
  const size = inputs / groups;
  const steps = Array.from({ length: size / half }, (_, i) => i);
  const order = [...steps.filter((i) => i % 2 === 0), ...steps.filter((i) => i % 2)].flatMap((step) =>
    Array.from({ length: half }, (_, i) => step * half + i),
  );
  return Array.from({ length: inputs }, (_, i) => Math.floor(i / size) * size + order[i % size]);
}

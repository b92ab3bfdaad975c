import { OptionError } from '../core/errors';
import { checkNumber, show } from '../core/options';
import { product } from '../engine/ops/linear';
import * as tf from '../engine/tf';
import { type Linear, Made, Parameter } from '../nn';
import type { ModuleAdapter } from './adapter';
import { BIAS, kaiming, LinearConfig, type Place, zeros } from './linear_config';
import { LinearTerm, type Standing } from './linear_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { dropoutText } from './printed';
import { NO_TARGETS, type Targets } from './targets';

/** Options of MiSS under PEFT's names (peft 0.21), with its defaults. */
export interface MissOptions extends CommonOptions, Targets {
  /** How many sums of inputs there are: every r-th input goes into the same. Default: 64. */
  r: number;
  /** Share of the inputs that are dropped while training. Default: 0. */
  miss_dropout: number;
  /** Of init_weights 'mini': how many outputs have a row of their own; the others repeat them. Default: 1. */
  mini_r: number;
  /** true: the block is zero; 'bat': blocks that go through the matrix itself; 'mini': a block that is repeated; false: random. Default: true. */
  init_weights: boolean | 'bat' | 'mini';
}

export interface MissConfig extends MissOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * MiSS (Kang and Yin, 2024, https://arxiv.org/abs/2409.15371): y = W x + B^T s, where s adds up the inputs r apart, s_i = x_i + x_(i + r) + ..., and the one block B
 * [r, out] is trained. With 'bat' (the same paper's Bat) each square block of the matrix is added what B makes of it: W_ij + W_ij B_i + B_i.
 */
export class MissConfig extends LinearConfig<MissOptions> {
  static readonly spec: OptionsSpec<MissOptions> = {
    peft_type: 'MISS',
    owner: 'MissConfig',
    tuner: 'MissModel',
    defaults: { ...COMMON, ...NO_TARGETS, r: 64, miss_dropout: 0, mini_r: 1, init_weights: true },
    fields: BIAS,
  };

  protected override checkOwn(saved: boolean): void {
    checkNumber('MissConfig', 'r', this.r, { integer: true, min: 1 }, 'It is the number of sums of inputs; 64 is usual.');
    checkNumber('MissConfig', 'mini_r', this.mini_r, { integer: true, min: 1 }, 'It is a number of outputs.');
    checkNumber('MissConfig', 'miss_dropout', this.miss_dropout, { min: 0, below: 1 }, 'It is a share.');
    const { init_weights: init } = this;
    if (typeof init !== 'boolean' && init !== 'bat' && init !== 'mini')
      this.refuse('init_weights', `must be true, false, ${show('bat')} or ${show('mini')}.`);
    if (saved) return;
    if (init === 'bat' && this.miss_dropout) this.refuse('miss_dropout', "has no effect with init_weights: 'bat'. Leave it out.");
    if (init !== 'mini' && this.mini_r !== 1) this.refuse('mini_r', "has no effect without init_weights: 'mini'. Leave it out.");
  }

  get summary(): string {
    return `A MiSS adapter (r = ${this.r})`;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    return this.each(model, how, (place) => this.term(place));
  }

  private term({ layer, path, random, serial }: Place): LinearTerm {
    const { r, mini_r: mini, init_weights: init } = this;
    const { inFeatures: into, outFeatures: out } = layer;
    const wrong = (text: string) => new OptionError(`MissConfig: ${path} is [${out}, ${into}], ${text}`);
    if (r > into) throw wrong(`so r = ${r} is above the number of its inputs. Choose a smaller one.`);
    if (init === 'bat' && (into % r || out % r))
      throw wrong(`which r = ${r} does not divide into square blocks, as 'bat' needs. Choose another r.`);
    if (init === 'mini' && out % mini) throw wrong(`and mini_r = ${mini} does not divide ${out}. Choose another one.`);
    const shape = init === 'bat' ? [out / r, r, r] : [r, init === 'mini' ? mini : out];
    const block = init === false ? kaiming(shape, random) : zeros(shape);
    const words = { name: 'miss.MissLinear', parts: { miss_dropout: dropoutText(this.miss_dropout), miss_block: block } };
    const standing: Standing =
      init === 'bat'
        ? { beside: { adds: (x) => product(x, ofBlocks(layer, block)) }, only: true }
        : { pair: { a: sums(r, into), b: repeated(block, out), scale: 1, dropout: this.miss_dropout, serial } };
    return new LinearTerm(layer, { miss_block: block }, standing, words);
  }
}

/** [r, in]: row i is one at inputs i, i + r, ... */
const sums = (r: number, into: number): Made =>
  new Made([r, into], () => tf.slice(tf.tile(tf.eye(r), [1, Math.ceil(into / r)]), [0, 0], [r, into]));

/** Its transpose [out, r], rows repeated where there are fewer than `out`. */
const repeated = (block: Parameter, out: number): Made => {
  const [r, own] = block.shape;
  return new Made([out, r], () => tf.transpose(tf.tile(block.tensor as tf.Tensor2D, [1, out / own])));
};

/** What 'bat' adds to the matrix of a layer: W_ij B_i + B_i in each block. [out, in] */
function ofBlocks(layer: Linear, block: Parameter): tf.Tensor {
  const [rows, r] = block.shape;
  const { inFeatures: into } = layer;
  const weight = layer.owned('weight');
  const w = weight instanceof Parameter ? weight.tensor : weight.dequantize();
  const blocks = tf.transpose(tf.reshape(w, [rows, r, into / r, r]), [0, 2, 1, 3]); // [rows, columns, r, r]
  const b = tf.reshape(block.tensor, [rows, 1, r, r]);
  const added = tf.add(tf.reshape(tf.matMul(tf.reshape(blocks, [rows, into, r]), block.tensor), [rows, into / r, r, r]), b);
  return tf.reshape(tf.transpose(added, [0, 2, 1, 3]), [rows * r, into]);
}

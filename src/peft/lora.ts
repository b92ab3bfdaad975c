import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { checkNumber, show } from '../core/options';
import type { Random } from '../core/random';
import * as tf from '../engine/tf';
import { type Adaptable, Embedding, type LowRank, Parameter } from '../nn';
import { bracketed } from '../nn/printed';
import { initFault, LORA_FIELDS } from './fields';
import {
  type Adapter,
  type Applied,
  type BaseModel,
  COMMON,
  type CommonOptions,
  ModuleAdapter,
  type OptionsSpec,
  PeftConfig,
  type Term,
} from './method';
import { endMatch } from './patterns';
import { moduleDict, parameterDict } from './printed';
import { checkTargets, type Targets, targetLayers, type Usual } from './targets';

const USUAL: Usual = { default: ['q_proj', 'v_proj'], gpt2: ['c_attn'] };

/** Options of LoRA under PEFT's names (peft 0.21), with its defaults. */
export interface LoraOptions extends CommonOptions, Targets {
  /** Rank of the update: how many directions it may use; 8 or 16 are common. Default: 8. */
  r: number;
  /** The update is scaled by lora_alpha / r; it is usually r or 2 r. Default: 8. */
  lora_alpha: number;
  /** Share of the inputs of A that are dropped while training; words of an embedding table are not. Default: 0. */
  lora_dropout: number;
  /** Which biases of the base model are trained too; tunebook trains none. Default: 'none'. */
  bias: 'none' | 'all' | 'lora_only';
  /** Scale by lora_alpha / sqrt(r) instead (https://arxiv.org/abs/2312.03732). Default: false. */
  use_rslora: boolean;
  /**
   * How a pair begins. true: A from Kaiming's uniform distribution, B zero (beside an embedding table A zero, B normal); 'gaussian': A normal with
   * deviation 1 / r; false: both random. Default: true.
   */
  init_lora_weights: boolean | 'gaussian';
  /** Other ranks for modules, by regular expressions for the ends of their names. Default: {}. */
  rank_pattern: Record<string, number>;
  /** Other values of lora_alpha for modules, by regular expressions for the ends of their names. Default: {}. */
  alpha_pattern: Record<string, number>;
}

const DEFAULTS: LoraOptions = {
  ...COMMON,
  r: 8,
  lora_alpha: 8,
  lora_dropout: 0,
  target_modules: null,
  exclude_modules: null,
  layers_to_transform: null,
  layers_pattern: null,
  bias: 'none',
  use_rslora: false,
  init_lora_weights: true,
  rank_pattern: {},
  alpha_pattern: {},
};

export interface LoraConfig extends LoraOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/** Low-rank adaptation (Hu et al., 2021, https://arxiv.org/abs/2106.09685): y = W x + lora_alpha / r * B A x. */
export class LoraConfig extends PeftConfig<LoraOptions> {
  static readonly spec: OptionsSpec<LoraOptions> = {
    peft_type: 'LORA',
    owner: 'LoraConfig',
    tuner: 'LoraModel',
    defaults: DEFAULTS,
    fields: LORA_FIELDS,
  };

  protected override check(saved: boolean): void {
    for (const name of ['rank_pattern', 'alpha_pattern'] as const) if (!this[name]) Object.assign(this, { [name]: {} });
    const rank = 'The rank is the number of directions the update may use; 8 or 16 are common.';
    const alpha = 'It is usually r or 2 r.';
    checkNumber('LoraConfig', 'r', this.r, { integer: true, min: 1 }, rank);
    checkNumber('LoraConfig', 'lora_alpha', this.lora_alpha, { above: 0 }, alpha);
    checkNumber('LoraConfig', 'lora_dropout', this.lora_dropout, { min: 0, below: 1 }, 'It is a share: 0 or 0.05 are common.');
    for (const [pattern, r] of Object.entries(this.rank_pattern))
      checkNumber('LoraConfig', `rank_pattern[${show(pattern)}]`, r, { integer: true, min: 1 }, rank);
    for (const [pattern, value] of Object.entries(this.alpha_pattern))
      checkNumber('LoraConfig', `alpha_pattern[${show(pattern)}]`, value, { above: 0 }, alpha);
    for (const name of ['rank_pattern', 'alpha_pattern'] as const) for (const pattern of Object.keys(this[name])) endMatch(pattern, name);
    if (this.bias !== 'none') this.refuse('bias', "would train the base model's biases too, which tunebook does not do; use 'none'.");
    if (typeof this.use_rslora !== 'boolean') this.refuse('use_rslora', 'must be true or false.');
    const fault = initFault(this.init_lora_weights, saved);
    if (fault) this.refuse('init_lora_weights', fault);
    checkTargets(this, (name, why) => this.refuse(name, why));
  }

  /** Rank and scale of one module. */
  of(module: string): { r: number; scale: number } {
    const pick = (name: 'rank_pattern' | 'alpha_pattern', fallback: number) => {
      const key = Object.keys(this[name]).find((pattern) => endMatch(pattern, name)(module));
      return key === undefined ? fallback : this[name][key];
    };
    const r = pick('rank_pattern', this.r);
    const alpha = pick('alpha_pattern', this.lora_alpha);
    return { r, scale: alpha / (this.use_rslora ? Math.sqrt(r) : r) };
  }

  get summary(): string {
    return `A LoRA adapter (r = ${this.r}, lora_alpha = ${this.lora_alpha})`;
  }

  /** B is zero, so the model answers as before. */
  override apply(model: BaseModel, { random, saved, terms: before }: Applied): ModuleAdapter {
    const layers = targetLayers(model, this, { owner: 'LoraConfig', usual: USUAL, saved });
    this.checkPatterns([...layers.keys()], saved);
    const terms = [...layers].map(([path, layer], i) => {
      const { r, scale } = this.of(path);
      const first = this.firstValues(layer, r, random);
      const draw = (rows: number, columns: number, next: () => number) =>
        new Parameter(tf.keep(tf.tensor2d(Float32Array.from({ length: rows * columns }, next), [rows, columns])));
      const a = draw(r, layer.inFeatures, first.a);
      const b = draw(layer.outFeatures, r, first.b);
      return [path, { module: layer, term: new LoraTerm(layer, { a, b, scale, dropout: this.lora_dropout, serial: before + i }) }] as const;
    });
    return new ModuleAdapter(new Map(terms));
  }

  private checkPatterns(paths: string[], saved: boolean): void {
    for (const name of ['rank_pattern', 'alpha_pattern'] as const)
      for (const pattern of Object.keys(this[name])) {
        if (paths.some(endMatch(pattern, name))) continue;
        const text = `LoraConfig: ${name} has ${show(pattern)}, which fits none of the adapted modules.`;
        if (!saved) throw new OptionError(text);
        warnOnce(text);
      }
  }

  /** What draws the first values of a pair, one by one. */
  private firstValues(layer: Adaptable, r: number, random: Random) {
    const init = this.init_lora_weights;
    const uniform = (size: number) => () => (2 * random.uniform() - 1) / Math.sqrt(size);
    const normal = (deviation: number) => () => random.normal() * deviation;
    const zero = () => 0;
    if (layer instanceof Embedding) return { a: init === false ? normal(1) : zero, b: normal(1) };
    const gaussian = typeof init === 'string';
    return { a: gaussian ? normal(1 / r) : uniform(layer.inFeatures), b: init === false ? uniform(r) : zero };
  }
}

/** A low-rank pair beside one layer. */
export class LoraTerm implements Term {
  readonly parameters: Record<string, Parameter>;

  constructor(
    private readonly layer: Adaptable,
    readonly pair: LowRank,
  ) {
    const [a, b] = layer instanceof Embedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight'];
    this.parameters = { [a]: pair.a, [b]: pair.b };
  }

  attach(): void {
    this.layer.lowRank = [...this.layer.lowRank, this.pair];
  }

  detach(): void {
    this.layer.lowRank = this.layer.lowRank.filter((pair) => pair !== this.pair);
  }

  printed(base: string, terms: readonly (readonly [string, Term])[]): string {
    const pairs = terms.flatMap(([name, term]) => (term instanceof LoraTerm ? [[name, term.pair] as const] : []));
    const inTable = this.layer instanceof Embedding;
    const dropout = pairs.map(([name, { dropout: p }]) => [name, p ? `Dropout(p=${p}, inplace=False)` : 'Identity()'] as const);
    const linear = ([into, out]: number[]) => `Linear(in_features=${into}, out_features=${out}, bias=False)`;
    const matrices = (of: 'a' | 'b') =>
      moduleDict(inTable ? [] : pairs.map(([name, pair]) => [name, linear(pair[of].shape.toReversed())] as const));
    const tables = (of: 'a' | 'b') => parameterDict(inTable ? pairs.map(([name, pair]) => [name, pair[of]] as const) : []);
    return bracketed(inTable ? 'lora.Embedding' : 'lora.Linear', [
      `(base_layer): ${base}`,
      `(lora_dropout): ${moduleDict(dropout)}`,
      `(lora_A): ${matrices('a')}`,
      `(lora_B): ${matrices('b')}`,
      `(lora_embedding_A): ${tables('a')}`,
      `(lora_embedding_B): ${tables('b')}`,
      '(lora_magnitude_vector): ModuleDict()',
    ]);
  }
}

/** The pairs among what adapters have put into a model, by the paths of the modules that they stand beside. */
export const pairsIn = (adapters: Iterable<Adapter>): Map<string, LowRank> =>
  new Map(
    [...adapters].flatMap((adapter) =>
      adapter instanceof ModuleAdapter
        ? [...adapter.terms].flatMap(([path, { term }]) => (term instanceof LoraTerm ? [[path, term.pair] as const] : []))
        : [],
    ),
  );

import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { checkFlags, checkNumber, type Known, show } from '../core/options';
import { type Adaptable, Embedding, type Linear } from '../nn';
import { ModuleAdapter } from './adapter';
import { initFault, LORA_FIELDS } from './fields';
import { QUERIES_AND_VALUES } from './linear_config';
import { firstPair } from './lora_init';
import { LoraTerm } from './lora_term';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec, PeftConfig } from './method';
import { ALPHA, checkPatterns, checkRank, checkUsed, type Patterns, picked, RANK } from './ranks';
import { checkTargets, type Targets, targetLayers } from './targets';

/** Options of LoRA under PEFT's names (peft 0.21), with its defaults. */
export interface LoraOptions extends CommonOptions, Targets, Patterns {
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
   * deviation 1 / r; false: both random; 'orthogonal': both random and orthogonal to each other. 'pissa' (or, faster, 'pissa_niter_16') and 'olora' take the pair out of the
   * matrix, of which the rest is frozen; 'loftq' packs the matrix in 4 bits and makes up for what that loses. Default: true.
   */
  init_lora_weights: boolean | Known<'gaussian' | 'pissa' | 'pissa_niter_16' | 'olora' | 'loftq' | 'orthogonal'>;
  /** Of 'loftq': bits of the packed matrix (4 or 8), and in how many turns (4, and 1, where they are not set). Default: {}. */
  loftq_config: { loftq_bits?: 4 | 8; loftq_iter?: number } | null;
  /** Train directions and lengths of the weights apart (DoRA, https://arxiv.org/abs/2402.09353). Default: false. */
  use_dora: boolean;
  /** Train a bias beside B; merging needs a bias in the layer. Default: false. */
  lora_bias: boolean;
  /** Other ranks for modules, by regular expressions for the ends of their names. Default: {}. */
  rank_pattern: Record<string, number>;
  /** Other values of lora_alpha for modules, by regular expressions for the ends of their names. Default: {}. */
  alpha_pattern: Record<string, number>;
}

const LOFTQ = { loftq_bits: 4, loftq_iter: 1 };

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
  loftq_config: {},
  use_dora: false,
  lora_bias: false,
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
    checkNumber('LoraConfig', 'r', this.r, { integer: true, min: 1 }, RANK);
    checkNumber('LoraConfig', 'lora_alpha', this.lora_alpha, { above: 0 }, ALPHA);
    checkNumber('LoraConfig', 'lora_dropout', this.lora_dropout, { min: 0, below: 1 }, 'It is a share: 0 or 0.05 are common.');
    checkPatterns('LoraConfig', this);
    if (this.bias !== 'none') this.refuse('bias', "would train the base model's biases too, which tunebook does not do; use 'none'.");
    checkFlags('LoraConfig', this, 'use_rslora', 'use_dora', 'lora_bias');
    if (this.lora_bias && (this.use_dora || typeof this.init_lora_weights !== 'boolean'))
      this.refuse(
        'lora_bias',
        `does not go with ${this.use_dora ? 'use_dora' : `init_lora_weights: ${show(this.init_lora_weights)}`}, as in PEFT.`,
      );
    this.checkLoftQ(saved);
    const fault = initFault(this.init_lora_weights, this.r, saved);
    if (fault) this.refuse('init_lora_weights', fault);
    checkTargets(this, (name, why) => this.refuse(name, why));
  }

  private checkLoftQ(saved: boolean): void {
    this.loftq_config ??= {};
    if (saved) return; // its values are in a file
    const { loftq_bits: bits, loftq_iter: rounds, ...others } = { ...LOFTQ, ...this.loftq_config };
    const wrong = Object.keys(others);
    if (wrong.length) this.refuse('loftq_config', `has ${wrong.join(', ')}; it can have loftq_bits and loftq_iter.`);
    if (bits !== 4 && bits !== 8) this.refuse('loftq_config', 'must have loftq_bits of 4 or 8.');
    if (!Number.isInteger(rounds) || rounds < 1) this.refuse('loftq_config', 'must have a loftq_iter of at least 1.');
    if (Object.keys(this.loftq_config).length && this.init_lora_weights !== 'loftq')
      this.refuse('loftq_config', "has no effect without init_lora_weights: 'loftq'.");
  }

  /** Rank and scale of one module. */
  of(module: string): { r: number; scale: number } {
    const { r, alpha } = picked(this, module, this.r, this.lora_alpha);
    return { r, scale: alpha / (this.use_rslora ? Math.sqrt(r) : r) };
  }

  get summary(): string {
    return `A LoRA adapter (r = ${this.r}, lora_alpha = ${this.lora_alpha})`;
  }

  /** The model answers as before: B is zero, or what the pair makes was taken out of the matrix. */
  override apply(model: BaseModel, { random, saved, terms: before }: Applied): ModuleAdapter {
    const layers = targetLayers(model, this, { owner: 'LoraConfig', usual: QUERIES_AND_VALUES, saved });
    if (saved && /_niter_/.test(String(this.init_lora_weights)))
      warnOnce(
        `LoraConfig: init_lora_weights = ${show(this.init_lora_weights)} takes the pair out of the matrix by chance in PEFT: an adapter that was trained there answers a little differently here. Where that matters, convert it there: save_pretrained(folder, path_initial_model_for_weight_conversion=...).`,
      );
    const { rank_pattern, alpha_pattern } = this;
    checkUsed('LoraConfig', { rank_pattern, alpha_pattern }, [...layers.keys()], saved);
    const terms = new Map<string, { module: Adaptable; term: LoraTerm }>();
    const { lora_dropout: dropout, use_dora, lora_bias, init_lora_weights: init } = this;
    try {
      for (const [path, layer] of layers) {
        const { r, scale } = this.of(path);
        checkRank('LoraConfig', 'r', r, path, layer.weight.shape, { saved });
        if ((layer instanceof Embedding || path === 'lm_head') && (use_dora || lora_bias))
          throw new OptionError(
            `LoraConfig: ${use_dora ? 'use_dora' : 'lora_bias'} does not go with ${path}: it is ${layer instanceof Embedding ? 'the embedding table' : 'the output head'}. Leave it out.`,
          );
        const { a, b, rest } = firstPair(layer, { r, scale, random, init, path, loftq: { ...LOFTQ, ...this.loftq_config } });
        const pair = { a, b, scale, dropout, serial: before + terms.size };
        terms.set(path, { module: layer, term: new LoraTerm(layer, pair, { rest, dora: use_dora, bias: lora_bias }) });
      }
    } catch (error) {
      for (const { term } of terms.values()) term.free();
      throw error;
    }
    const bare = lora_bias && [...layers].find(([, layer]) => !(layer as Linear).bias)?.[0];
    return new ModuleAdapter(terms, {
      unmergeable: bare ? `lora_bias trained a bias beside ${bare}, which has none of its own.` : undefined,
    });
  }
}

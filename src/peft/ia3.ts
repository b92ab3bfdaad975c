import { checkFlags, show } from '../core/options';
import type { ModuleAdapter } from './adapter';
import { drawn, LinearConfig, TURNED } from './linear_config';
import { LinearTerm } from './linear_term';
import { type Applied, areNames, type BaseModel, COMMON, type CommonOptions, type OptionsSpec } from './method';
import { matcher, type Targets, type Usual } from './targets';

const QUERIES = ['q_proj', 'v_proj', 'down_proj'];
const USUAL: Usual = {
  default: ['k_proj', 'v_proj', 'down_proj'],
  ...{ qwen2: QUERIES, qwen3: QUERIES, gemma: QUERIES, gemma2: QUERIES, gemma3_text: QUERIES, gpt2: ['c_attn', 'mlp.c_proj'] },
};
const USUAL_FEEDFORWARD: Usual = { default: ['down_proj'], gpt2: ['mlp.c_proj'] };

/** Options of (IA)^3 under PEFT's names (peft 0.21), with its defaults. */
export interface IA3Options extends CommonOptions, Pick<Targets, 'target_modules' | 'exclude_modules'> {
  /** Those of the target modules whose inputs are scaled, not their outputs: ends of names, or a regular expression for whole names. Default: null. */
  feedforward_modules: string | string[] | null;
  /** How the vectors begin. true: as ones; false: random. Default: true. */
  init_ia3_weights: boolean;
}

const DEFAULTS: IA3Options = {
  ...COMMON,
  target_modules: null,
  exclude_modules: null,
  feedforward_modules: null,
  init_ia3_weights: true,
};

export interface IA3Config extends IA3Options {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/**
 * (IA)^3 (Liu et al., 2022, https://arxiv.org/abs/2205.05638): learned vectors scale what linear layers give, y = l * (W x + bias), or,
 * of feed-forward layers, what they take: y = W (l * x) + bias.
 */
export class IA3Config extends LinearConfig<IA3Options> {
  static readonly spec: OptionsSpec<IA3Options> = {
    peft_type: 'IA3',
    owner: 'IA3Config',
    tuner: 'IA3Model',
    defaults: DEFAULTS,
    fields: TURNED,
  };

  protected override checkOwn(): void {
    if (!areNames(this.feedforward_modules)) this.refuse('feedforward_modules', 'must be a string or a list of strings.');
    checkFlags('IA3Config', this, 'init_ia3_weights');
    const { target_modules: targets, feedforward_modules: inner } = this;
    if (!Array.isArray(targets) || !Array.isArray(inner)) return;
    const others = inner.filter((name) => !targets.includes(name));
    if (others.length) this.refuse('feedforward_modules', `has ${others.map(show).join(', ')}, which target_modules does not have.`);
  }

  get summary(): string {
    return 'An (IA)^3 adapter';
  }

  protected override get usual(): Usual {
    return USUAL;
  }

  override apply(model: BaseModel, how: Applied): ModuleAdapter {
    const usual = USUAL_FEEDFORWARD[model.config.model_type ?? 'default'] ?? USUAL_FEEDFORWARD.default;
    const inner = this.feedforward_modules ?? (this.target_modules === null ? usual : []);
    const isInner = matcher(inner, 'feedforward_modules');
    return this.each(model, how, ({ layer, path, random }) => {
      const l = drawn(isInner(path) ? [1, layer.inFeatures] : [layer.outFeatures, 1], () => (this.init_ia3_weights ? 1 : random.normal()));
      return new LinearTerm(layer, { ia3_l: l }, { scale: l }, { name: 'Linear', parts: { ia3_l: l } });
    });
  }
}

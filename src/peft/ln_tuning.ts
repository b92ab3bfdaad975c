import type { Module } from '../nn';
import { ModuleAdapter } from './adapter';
import { Copies } from './copies';
import { type Applied, type BaseModel, COMMON, type CommonOptions, type OptionsSpec, PeftConfig } from './method';
import { checkTargets, isAdaptable, lastNames, NO_TARGETS, type Sort, type Targets, targetModules, type Usual } from './targets';

const BLOCK = ['input_layernorm', 'post_attention_layernorm'];
const SANDWICH = [...BLOCK, 'pre_feedforward_layernorm', 'post_feedforward_layernorm', 'norm'];
const USUAL: Usual = {
  default: [...BLOCK, 'norm'],
  ...{ qwen2: ['post_attention_layernorm'], qwen3: ['post_attention_layernorm'], gemma2: SANDWICH, gemma3_text: SANDWICH },
  gpt2: ['ln_1', 'ln_2', 'ln_f'],
};

const NORMS: Sort<Module> = {
  has: (module): module is Module => !isAdaptable(module) && !module.ownTensors().next().done,
  is: 'no norm (modules_to_save trains others as a whole)',
  describe: (modules) => `Its norms are called ${lastNames(modules, NORMS.has).join(', ')}.`,
};

/** Options of LN tuning under PEFT's names (peft 0.21), with its defaults. */
export type LNTuningOptions = CommonOptions & Pick<Targets, 'target_modules' | 'exclude_modules'>;

export interface LNTuningConfig extends LNTuningOptions {
  readonly base_model_name_or_path: string | null;
  readonly modules_to_save: string[] | null;
}

/** What PEFT prints around a norm. */
const PRINTED = ['ln_tuning.LNTuningLayer', 'base_layer', 'ln_tuning_layers'] as const;

/** LN tuning (Zhao et al., 2023, https://arxiv.org/abs/2312.11420): the gains of norms are trained, as copies, and nothing else. */
export class LNTuningConfig extends PeftConfig<LNTuningOptions> {
  static readonly spec: OptionsSpec<LNTuningOptions> = {
    peft_type: 'LN_TUNING',
    owner: 'LNTuningConfig',
    tuner: 'LNTuningModel',
    defaults: { ...COMMON, target_modules: null, exclude_modules: null },
  };

  protected override check(): void {
    checkTargets({ ...NO_TARGETS, ...this }, (name, why) => this.refuse(name as keyof LNTuningOptions, why));
  }

  get summary(): string {
    return 'An adapter of tuned norms (LN tuning)';
  }

  override apply(model: BaseModel, { saved }: Applied): ModuleAdapter {
    const norms = targetModules(model, { ...NO_TARGETS, ...this }, { owner: 'LNTuningConfig', usual: USUAL, saved }, NORMS);
    return new ModuleAdapter(
      new Map([...norms].map(([path, module]) => [path, { module, term: new Copies(module, 'ln_tuning_layers.', PRINTED) }])),
    );
  }
}

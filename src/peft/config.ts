import { OptionError } from '../core/errors';
import { sortedJson } from '../core/json';
import { checkNumber, readOptions, show } from '../core/options';

/** Options of LoRA under PEFT's names (peft 0.21), with its defaults. */
export interface LoraOptions {
  /** Rank of the update. */
  r: number;
  /** The update is scaled by lora_alpha / r. */
  lora_alpha: number;
  /** Share of the inputs of A that are dropped while training. */
  lora_dropout: number;
  /** Ends of module names, 'all-linear', or a regular expression for whole names. By default what PEFT takes for Llama. */
  target_modules: string | string[] | null;
  exclude_modules: string | string[] | null;
  bias: 'none' | 'all' | 'lora_only';
  /** Scale by lora_alpha / sqrt(r) instead (https://arxiv.org/abs/2312.03732). */
  use_rslora: boolean;
  /** true: A from Kaiming's uniform distribution, B zero; 'gaussian': A normal with deviation 1 / r; false: both random. */
  init_lora_weights: boolean | 'gaussian';
  rank_pattern: Record<string, number>;
  alpha_pattern: Record<string, number>;
  task_type: string | null;
  base_model_name_or_path: string | null;
  inference_mode: boolean;
  revision: string | null;
}

const DEFAULTS: LoraOptions = {
  r: 8,
  lora_alpha: 8,
  lora_dropout: 0,
  target_modules: null,
  exclude_modules: null,
  bias: 'none',
  use_rslora: false,
  init_lora_weights: true,
  rank_pattern: {},
  alpha_pattern: {},
  task_type: 'CAUSAL_LM',
  base_model_name_or_path: null,
  inference_mode: false,
  revision: null,
};

/** What PEFT writes beside these: options of other variants, at the values that mean "not used". */
const UNUSED = {
  alora_invocation_tokens: null,
  arrow_config: null,
  auto_mapping: null,
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  fan_in_fan_out: false,
  kasa_config: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_bias: false,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  modules_to_save: null,
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: false,
  use_qalora: false,
  velora_config: null,
};

export interface LoraConfig extends LoraOptions {}

/** Low-rank adaptation (Hu et al., 2021, https://arxiv.org/abs/2106.09685): y = W x + lora_alpha / r * B A x. */
export class LoraConfig {
  readonly peft_type = 'LORA';

  constructor(options: Partial<LoraOptions> = {}) {
    const given: Record<string, unknown> = { ...options };
    for (const [name, unused] of Object.entries(UNUSED)) {
      if (!Object.hasOwn(given, name)) continue;
      const value = given[name];
      const off =
        value === undefined ||
        value === null ||
        value === false ||
        JSON.stringify(value) === JSON.stringify(unused) ||
        JSON.stringify(value) === '{}';
      if (!off)
        throw new OptionError(`LoraConfig: ${name} = ${show(value)} is an option of PEFT that tunebook does not have yet. Leave it out.`);
      delete given[name];
    }
    delete given.peft_type;
    const o = Object.assign(this, readOptions('LoraConfig', given, DEFAULTS));
    checkNumber(
      'LoraConfig',
      'r',
      o.r,
      { integer: true, min: 1 },
      'The rank is the number of directions the update may use; 8 or 16 are common.',
    );
    checkNumber('LoraConfig', 'lora_alpha', o.lora_alpha, { above: 0 }, 'It is usually r or 2 r.');
    checkNumber('LoraConfig', 'lora_dropout', o.lora_dropout, { min: 0, below: 1 }, 'It is a share: 0 or 0.05 are common.');
    if (o.bias !== 'none') throw new OptionError(`LoraConfig: bias = ${show(o.bias)} is not supported yet; use 'none'.`);
    if (o.task_type !== 'CAUSAL_LM' && o.task_type !== null)
      throw new OptionError(`LoraConfig: task_type ${show(o.task_type)} is not supported yet; use 'CAUSAL_LM'.`);
  }

  /** Rank and scale of one module. */
  of(module: string): { r: number; scale: number } {
    const pick = (pattern: Record<string, number>, fallback: number) => {
      const key = Object.keys(pattern).find((p) => new RegExp(`^(?:.*\\.)?${p}$`).test(module));
      return key === undefined ? fallback : pattern[key];
    };
    const r = pick(this.rank_pattern, this.r);
    const alpha = pick(this.alpha_pattern, this.lora_alpha);
    return { r, scale: alpha / (this.use_rslora ? Math.sqrt(r) : r) };
  }

  /** adapter_config.json as PEFT writes it: keys sorted, two spaces. */
  toJson(baseModel: string): string {
    const all = { ...UNUSED, ...this, base_model_name_or_path: this.base_model_name_or_path ?? baseModel, inference_mode: true };
    return sortedJson(all);
  }
}

import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { sortedJson } from '../core/json';
import { checkNumber, readOptions, show } from '../core/options';
import { FIELDS, initFault, isUnused, UNWRITTEN } from './fields';
import { endMatch } from './patterns';

/** Options of LoRA under PEFT's names (peft 0.21), with its defaults. */
export interface LoraOptions {
  /** Rank of the update. */
  r: number;
  /** The update is scaled by lora_alpha / r. */
  lora_alpha: number;
  /** Share of the inputs of A that are dropped while training; words of an embedding table are not. */
  lora_dropout: number;
  /**
   * Ends of module names, 'all-linear' (all but the output head), or a regular expression of Python's for whole names. By default
   * what PEFT takes for Llama.
   */
  target_modules: string | string[] | null;
  /** Ends of module names, or a regular expression for whole names, that are left out. */
  exclude_modules: string | string[] | null;
  /** Numbers of the layers to adapt; only beside a list of target_modules. */
  layers_to_transform: number | number[] | null;
  /** What the list of layers is called in module names, as regular expressions; only beside layers_to_transform. */
  layers_pattern: string | string[] | null;
  bias: 'none' | 'all' | 'lora_only';
  /** Scale by lora_alpha / sqrt(r) instead (https://arxiv.org/abs/2312.03732). */
  use_rslora: boolean;
  /**
   * true: A from Kaiming's uniform distribution, B zero (beside an embedding table A zero, B normal); 'gaussian': A normal with
   * deviation 1 / r; false: both random.
   */
  init_lora_weights: boolean | 'gaussian';
  /** Other ranks for modules, by regular expressions for the ends of their names. */
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
  layers_to_transform: null,
  layers_pattern: null,
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

export interface LoraConfig extends LoraOptions {}

/** Low-rank adaptation (Hu et al., 2021, https://arxiv.org/abs/2106.09685): y = W x + lora_alpha / r * B A x. */
export class LoraConfig {
  readonly peft_type = 'LORA';

  constructor(options: Partial<LoraOptions> = {}) {
    this.read({ ...options }, false);
  }

  /** The config of a saved adapter, whose values are in a file beside it. Fields of later versions of PEFT are passed over with a warning. */
  static saved(json: Record<string, unknown>, path: string): LoraConfig {
    const known = { ...json };
    for (const name of Object.keys(json)) {
      if (Object.hasOwn(DEFAULTS, name) || Object.hasOwn(FIELDS, name) || name === 'peft_type') continue;
      warnOnce(`${path}: the option ${name} is newer than this version of tunebook and is ignored.`);
      delete known[name];
    }
    const config = Object.create(LoraConfig.prototype) as LoraConfig;
    Object.assign(config, { peft_type: 'LORA' });
    config.read({ ...known, inference_mode: false }, true);
    return config;
  }

  private read(given: Record<string, unknown>, saved: boolean): void {
    const type = given.peft_type ?? 'LORA';
    if (type !== 'LORA') throw new OptionError(`LoraConfig: peft_type is ${show(type)}; tunebook has 'LORA' so far.`);
    delete given.peft_type;
    for (const [name, field] of Object.entries(FIELDS)) {
      const value = given[name];
      if (field.would && !(saved && field.initial) && !isUnused(field, value))
        throw new OptionError(
          `LoraConfig: ${name} = ${show(value)} is an option of PEFT that tunebook does not have yet: it would ${field.would}. Leave it out.`,
        );
      delete given[name];
    }
    for (const name of ['rank_pattern', 'alpha_pattern']) given[name] ??= {};
    this.check(Object.assign(this, readOptions('LoraConfig', given, DEFAULTS)), saved);
  }

  private check(o: LoraOptions, saved: boolean): void {
    const refuse = (name: keyof LoraOptions, why: string): never => {
      throw new OptionError(`LoraConfig: ${name} = ${show(o[name])} ${why}`);
    };
    const rank = 'The rank is the number of directions the update may use; 8 or 16 are common.';
    const alpha = 'It is usually r or 2 r.';
    checkNumber('LoraConfig', 'r', o.r, { integer: true, min: 1 }, rank);
    checkNumber('LoraConfig', 'lora_alpha', o.lora_alpha, { above: 0 }, alpha);
    checkNumber('LoraConfig', 'lora_dropout', o.lora_dropout, { min: 0, below: 1 }, 'It is a share: 0 or 0.05 are common.');
    for (const [pattern, r] of Object.entries(o.rank_pattern))
      checkNumber('LoraConfig', `rank_pattern[${show(pattern)}]`, r, { integer: true, min: 1 }, rank);
    for (const [pattern, value] of Object.entries(o.alpha_pattern))
      checkNumber('LoraConfig', `alpha_pattern[${show(pattern)}]`, value, { above: 0 }, alpha);
    for (const name of ['rank_pattern', 'alpha_pattern'] as const) for (const pattern of Object.keys(o[name])) endMatch(pattern, name);
    if (o.bias !== 'none') refuse('bias', "would train the base model's biases too, which tunebook does not do; use 'none'.");
    if (o.task_type !== 'CAUSAL_LM' && o.task_type !== null) refuse('task_type', "is not supported yet; use 'CAUSAL_LM'.");
    if (typeof o.use_rslora !== 'boolean') refuse('use_rslora', 'must be true or false.');
    if (o.inference_mode !== false)
      refuse('inference_mode', 'would freeze the adapter, and a new one is there to be trained. Leave it out.');
    const fault = initFault(o.init_lora_weights, saved);
    if (fault) refuse('init_lora_weights', fault);
    const names = (value: unknown) => value === null || [value].flat().every((item) => typeof item === 'string');
    for (const name of ['target_modules', 'exclude_modules', 'layers_pattern'] as const)
      if (!names(o[name])) refuse(name, 'must be a string or a list of strings.');
    const layers = o.layers_to_transform;
    if (layers !== null && ![layers].flat().every((i) => Number.isSafeInteger(i) && i >= 0))
      refuse('layers_to_transform', 'must be the number of a layer, counted from 0, or a list of them.');
    if (typeof o.target_modules === 'string')
      for (const name of ['layers_to_transform', 'layers_pattern'] as const)
        if (o[name] !== null)
          refuse(name, `works beside a list of target_modules, which is ${show(o.target_modules)}. Choose the layers in it.`);
    if (o.layers_pattern?.length && layers === null) refuse('layers_pattern', 'needs layers_to_transform.');
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

  /** adapter_config.json as PEFT writes it: keys sorted, two spaces. */
  toJson(baseModel: string): string {
    const unused = Object.fromEntries(Object.entries(FIELDS).flatMap(([name, f]) => (UNWRITTEN.includes(name) ? [] : [[name, f.unused]])));
    return sortedJson({
      ...unused,
      ...this,
      base_model_name_or_path: this.base_model_name_or_path ?? baseModel,
      inference_mode: true,
    });
  }
}

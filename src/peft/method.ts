import { inspect } from 'node:util';
import { OptionError } from '../core/errors';
import { sortedJson } from '../core/json';
import { type Known, readOptions, show } from '../core/options';
import type { Random } from '../core/random';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import type { Matrix, Module } from '../nn';
import { type Adapter, PREFIX } from './adapter';
import { type Field, isUnused, SHARED_FIELDS } from './fields';
import type { GgufPlaces } from './gguf';

/** A model that adapters fit: its layers are found by path, and saved adapters call it by name. */
export type BaseModel = Module & {
  readonly config: { _name_or_path: string; model_type?: string };
  readonly task_type?: string;
  /** How llama.cpp keeps its layers, where it does. */
  ggufPlaces?(): GgufPlaces | undefined;
  /** The embedding table, and the output head where it has one. */
  readonly tokenLayers?: (Module & { weight: Matrix })[];
  /** Whether these have other rows than the model's files. */
  readonly resized?: boolean;
};

export interface Applied {
  /** Draws first values. */
  random: Random;
  /** Values will come from a file. */
  saved: boolean;
  /** How many terms the model has from other adapters: dropout masks are told apart by their number. */
  terms: number;
}

/** PEFT's task types, and modules that are trained whole beside an adapter for each: those of them that a model has. */
export const TASKS: Readonly<Record<string, readonly string[]>> = { CAUSAL_LM: [], SEQ_CLS: ['classifier', 'score'] };

const CLASSES: Readonly<Record<string, string>> = { CAUSAL_LM: 'PeftModelForCausalLM', SEQ_CLS: 'PeftModelForSequenceClassification' };

/** Options that every method has, under PEFT's names. */
export interface CommonOptions {
  /** What the model is for; of 'SEQ_CLS' the classifying head is trained whole, as in PEFT. Default: 'CAUSAL_LM'. */
  task_type: Known<'CAUSAL_LM' | 'SEQ_CLS'> | null;
  /** What a saved adapter calls its base model; null: the name that the model was loaded by. Default: null. */
  base_model_name_or_path: string | null;
  /** Whether the adapter is frozen: a new one is not, so true is an error. Default: false. */
  inference_mode: boolean;
  /** The version of the base model on the Hub, kept in adapter_config.json alone. Default: null. */
  revision: string | null;
  /** Modules that are trained as a whole beside the adapter, and saved with it: ends of their names. Default: null. */
  modules_to_save: string[] | null;
}

export const COMMON: CommonOptions = {
  task_type: 'CAUSAL_LM',
  base_model_name_or_path: null,
  inference_mode: false,
  revision: null,
  modules_to_save: null,
};

/** What a method's class says of its options. */
export interface OptionsSpec<O extends CommonOptions> {
  /** PEFT's name of the method. */
  peft_type: string;
  /** What it is called in errors. */
  owner: string;
  /** PEFT's class of the models that it makes, where it prints one: 'LoraModel'. */
  tuner?: string;
  defaults: O;
  /** What PEFT saves before the names of whole modules, where it puts no model of its own around the base. */
  prefix?: string;
  /** Fields of PEFT's config that are not among the options. */
  fields?: Record<string, Field>;
}

/** A method's options, under PEFT's names: what adapter_config.json holds. One class for each method, in a file of its own. */
export abstract class PeftConfig<O extends CommonOptions = CommonOptions> {
  declare readonly peft_type: string;
  declare readonly base_model_name_or_path: string | null;
  declare readonly modules_to_save: string[] | null;

  /** `saved`: the options are those of a file with values beside it. */
  constructor(options: Partial<O> & Record<string, unknown> = {}, saved = false) {
    this.read({ ...options }, saved);
  }

  protected get spec(): OptionsSpec<O> {
    return (this.constructor as unknown as PeftMethod).spec as unknown as OptionsSpec<O>;
  }

  private read(given: Record<string, unknown>, saved: boolean): void {
    const { peft_type, owner, defaults } = this.spec;
    const type = given.peft_type ?? peft_type;
    if (type !== peft_type) throw new OptionError(`${owner}: peft_type is ${show(type)}, but a ${owner} is of ${show(peft_type)}.`);
    delete given.peft_type;
    for (const [name, field] of Object.entries(this.fields)) {
      const value = given[name];
      if (field.would && !(saved && field.initial) && !isUnused(field, value))
        throw new OptionError(
          `${owner}: ${name} = ${show(value)} is an option of PEFT that tunebook does not have yet: it would ${field.would}. Leave it out.`,
        );
      delete given[name];
    }
    Object.assign(this, { peft_type }, readOptions<O>(owner, given, defaults));
    const o = this as unknown as O;
    if (o.task_type !== null && !Object.hasOwn(TASKS, o.task_type))
      this.refuse('task_type', `is not supported yet; use ${Object.keys(TASKS).map(show).join(' or ')}.`);
    if (o.inference_mode !== false)
      this.refuse('inference_mode', 'would freeze the adapter, and a new one is there to be trained. Leave it out.');
    if (!areNames(o.modules_to_save)) this.refuse('modules_to_save', 'must be a list of strings.');
    const whole = TASKS[o.task_type ?? ''] ?? [];
    if (whole.length) o.modules_to_save = [...new Set([[o.modules_to_save ?? []].flat(), whole].flat())];
    this.check(saved);
  }

  /** PEFT's class of a model with it: 'PeftModelForCausalLM'. */
  get printedClass(): string {
    const { task_type } = this as unknown as CommonOptions;
    return CLASSES[task_type ?? ''] ?? 'PeftModel';
  }

  /** What was set, and what stands at its default. */
  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    const { owner, defaults } = this.spec;
    const { peft_type: _, ...options } = this;
    return optionsShown(owner, options, defaults);
  }

  get tuner(): string | undefined {
    return this.spec.tuner;
  }

  /** What stands before the names of whole modules in a saved adapter. */
  get prefix(): string {
    return this.spec.prefix ?? PREFIX;
  }

  private get fields(): Record<string, Field> {
    return { ...SHARED_FIELDS, ...this.spec.fields };
  }

  /** Throws an OptionError that names the option and its value. */
  protected refuse(name: keyof O & string, why: string): never {
    throw new OptionError(`${this.spec.owner}: ${name} = ${show((this as unknown as O)[name])} ${why}`);
  }

  /** Throws where an option is wrong. `saved`: it comes from a file with values beside it. */
  protected abstract check(saved: boolean): void;

  /** What it is, in some words: 'A LoRA adapter (r = 8, lora_alpha = 16)'. */
  abstract readonly summary: string;

  /** Makes a fresh adapter for the model; it is not attached yet. */
  abstract apply(model: BaseModel, how: Applied): Adapter;

  /** adapter_config.json as PEFT writes it: keys sorted, two spaces. `turned`: what it adapts has its matrices as [in, out] in files. */
  toJson(baseModel: string, turned = false): string {
    const unused = Object.fromEntries(Object.entries(this.fields).flatMap(([name, f]) => (f.unwritten ? [] : [[name, f.unused]])));
    const base_model_name_or_path = this.base_model_name_or_path ?? baseModel;
    const layout = turned && Object.hasOwn(unused, 'fan_in_fan_out') ? { fan_in_fan_out: true } : {};
    return sortedJson({ ...unused, ...this, ...layout, base_model_name_or_path, inference_mode: true });
  }
}

/** Fails where an adapter is for another task than the model's head. */
export function checkTask(config: PeftConfig, { task_type }: BaseModel): void {
  const { task_type: asked } = config as unknown as CommonOptions;
  if (task_type && asked && task_type !== asked)
    throw new OptionError(
      `The adapter is for task_type ${show(asked)}, but the model for ${show(task_type)}: set task_type: ${show(task_type)}, or load the model with another head.`,
    );
}

/** The class of a method's config. */
export interface PeftMethod {
  readonly spec: OptionsSpec<CommonOptions>;
  new (options?: Record<string, unknown>, saved?: boolean): PeftConfig;
}

/** A list of names, a name, or nothing. */
export const areNames = (value: unknown): value is string | string[] | null =>
  value === null || [value].flat().every((item) => typeof item === 'string');

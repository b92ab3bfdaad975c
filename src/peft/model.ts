import { OptionError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { readOptions, show } from '../core/options';
import { Random } from '../core/random';
import type { DecoderPlan } from '../engine/ops/decode';
import { resolveAdapter } from '../hub/resolve';
import { HUB_DEFAULTS } from '../hub/settings';
import { type LowRank, Module, type Parameter } from '../nn';
import { trainableText } from '../nn/printed';
import type { Adapter } from './adapter';
import { CombiningAdapters, type Find } from './combining';
import { configIn, configOf } from './configs';
import { refuseHeld, takeOff, worn } from './hold';
import { pairsIn } from './lora_term';
import { type BaseModel, checkTask, type PeftConfig } from './method';
import { Part } from './part';
import { countOf, sizeOf } from './parts';
import { peftPrinted } from './printed';
import { DEFAULT } from './saved_adapters';
import { planTogether } from './slots';

export type { BaseModel } from './method';

/** A model's `generate`, where it has one. */
type Generates<M> = M extends { generate: infer G } ? G : never;

/** A frozen base model with one or more adapters, of any methods, by name; those that are active answer and are trained. */
export class PeftModel<M extends BaseModel = BaseModel> extends CombiningAdapters<M> {
  /** Puts a fresh adapter beside the modules that the config names, in the place of what the model wears. */
  static attach<M extends BaseModel>(model: M, config: PeftConfig, seed: number): PeftModel<M> {
    const before = takeOff(model);
    const peft = new PeftModel<M>(model);
    try {
      peft.add(DEFAULT, config, seed, false);
    } catch (error) {
      before.back();
      throw error;
    }
    before.free('the new one takes its place');
    peft.set_adapter(DEFAULT);
    return peft;
  }

  /** Off the model for now: `back` undoes that, `free` frees it for good and says so. */
  stepAside(): { back(): void; free(because: string): void } {
    this.unmerge_adapter();
    const { active } = this.parts;
    this.set_adapter([]);
    // A table that it brought is the base model's no more for whatever comes.
    for (const [, part] of this.parts) part.giveBack();
    worn.delete(this.base_model);
    return {
      back: () => {
        worn.set(this.base_model, this);
        this.set_adapter(active);
      },
      free: (because) => {
        const what = [...this.parts].map(([, { config }]) => config.summary).join(', ');
        this.unload();
        if (what)
          emit('progress', {
            id: 'adapter',
            text: `${what} was on the model: ${because}. What it had learned is where it was saved.`,
            done: true,
          });
      },
    };
  }

  /** Loads an adapter beside a model that wears none, without its answering. */
  static async beside<M extends BaseModel>(model: M, nameOrPath: string, adapter_name: string): Promise<PeftModel<M>> {
    const peft = new PeftModel<M>(model);
    try {
      await peft.load_adapter(nameOrPath, adapter_name);
    } catch (error) {
      if (worn.get(model) === peft) worn.delete(model);
      throw error;
    }
    return peft;
  }

  /**
   * Loads an adapter that this library or PEFT saved, by Hub id or path. Missing and unexpected tensors are errors. Where it brings an embedding table or
   * output head of other values than the model's, they take the place of the model's until unload(), as in PEFT. An adapter that the
   * model wears is replaced.
   */
  static async from_pretrained<M extends BaseModel>(
    model: M,
    nameOrPath: string,
    { adapter_name = DEFAULT, ...find }: { adapter_name?: string } & Find = {},
  ): Promise<PeftModel<M>> {
    const folder = await resolveAdapter(nameOrPath, readOptions('PeftModel.from_pretrained', find, HUB_DEFAULTS));
    const config = await configIn(folder, model);
    const before = takeOff(model);
    const peft = new PeftModel<M>(model);
    try {
      peft.add(adapter_name, config, 42, true);
      await peft.parts.get(adapter_name).fill(folder, model);
    } catch (error) {
      peft.unload();
      before.back();
      throw error;
    }
    before.free('the new one takes its place');
    peft.set_adapter(adapter_name);
    return peft;
  }

  /** The configs of its adapters by name. */
  get peft_config(): Record<string, PeftConfig> {
    return Object.fromEntries([...this.parts].map(([name, { config }]) => [name, config]));
  }

  get active_adapters(): string[] {
    return this.parts.active;
  }

  /** The config of the (first) active adapter. */
  get active_peft_config(): PeftConfig {
    return this.parts.get(this.active_adapter).config;
  }

  /** Puts another fresh adapter beside the ones there are; `set_adapter` makes it answer. */
  add_adapter(name: string, config: PeftConfig, { seed = 42 }: { seed?: number } = {}): void {
    this.add(name, configOf(config), seed, false);
  }

  /** Loads another adapter beside the ones there are; `set_adapter` makes it answer. */
  async load_adapter(nameOrPath: string, name: string, find: Find = {}): Promise<void> {
    const folder = await resolveAdapter(nameOrPath, readOptions('load_adapter', find, HUB_DEFAULTS));
    this.add(name, await configIn(folder, this.base_model), 42, true);
    try {
      await this.parts.get(name).fill(folder, this.base_model);
    } catch (error) {
      this.delete_adapter(name);
      throw error;
    }
  }

  /** Makes these adapters, and no others, answer and be trained. Several add up. */
  set_adapter(names: string | string[]): void {
    const wanted = [names].flat();
    for (const name of wanted) this.parts.get(name);
    this.refuseMerged('set_adapter');
    this.parts.refuseClash(wanted);
    refuseHeld(this.base_model, 'set_adapter');
    this.parts.activate(wanted);
  }

  /** The base model's matrices in whose place its adapters have put their own, be they active or not. */
  get brought(): string[] {
    return [...this.parts].flatMap(([, part]) => part.brought);
  }

  /** Runs f with these adapters in the place of the active ones: for rows of a batch that each go through another. */
  wearing<T>(names: readonly string[], f: () => T): T {
    this.refuseMixing(names);
    return this.parts.wearing(names, f);
  }

  /** How the decode op is told of several adapters at once: see `Wearer`. */
  together(names: readonly string[], make: () => DecoderPlan): DecoderPlan {
    this.refuseMixing(names);
    return planTogether(this.parts, names, make);
  }

  private refuseMixing(names: readonly string[]): void {
    for (const name of names) this.parts.get(name);
    this.refuseMerged('adapter_names');
  }

  /** Takes an adapter off and frees it. */
  delete_adapter(name: string): void {
    this.parts.get(name);
    this.refuseMerged('delete_adapter');
    refuseHeld(this.base_model, 'delete_adapter');
    this.parts.delete(name);
  }

  private add(name: string, config: PeftConfig, seed: number, saved: boolean): void {
    if (this.parts.has(name))
      throw new OptionError(`There is an adapter called ${show(name)} already. Choose another name, or delete_adapter it first.`);
    this.refuseMerged('add_adapter');
    refuseHeld(this.base_model, 'add_adapter');
    const other = worn.get(this.base_model);
    if (other && other !== this)
      throw new OptionError(
        'This adapter was taken off its model, which wears another one now. Use that one, or make a new one with get_peft_model.',
      );
    checkTask(config, this.base_model);
    this.base_model.requires_grad_(false);
    const terms = [...this.parts].reduce((n, [, part]) => n + part.terms, 0);
    this.parts.add(name, new Part(this.base_model, config, { random: Random.seeded(seed), saved, terms }));
    worn.set(this.base_model, this);
  }

  /** LoRA's pairs of the active adapters, by the paths of their modules. Its old name: `attached` has what every method has put there. */
  get pairs(): ReadonlyMap<string, LowRank> {
    warnOnce(
      'PeftModel.pairs is of LoRA alone. peft.attached has what the active adapters have put into the model, whatever their method.',
    );
    return pairsIn(this.attached);
  }

  /** What the active adapters have put into the model. */
  get attached(): Adapter[] {
    return this.parts.attached.flatMap(({ adapters }) => adapters);
  }

  /** Trained tensors by the names that PEFT saves them under; of several active adapters behind the adapter's name. */
  namedParameters(): Map<string, Parameter> {
    return this.parts.namedParameters();
  }

  /** The same with those that are frozen. */
  ownParameters(): Map<string, Parameter> {
    return this.parts.namedParameters(true);
  }

  /** The trained tensors inside one module of the base model. */
  parametersIn(module: Module): Parameter[] {
    return this.parts.attached.flatMap((part) => part.parametersIn(module)).filter(({ requires_grad }) => requires_grad);
  }

  /** How many values are trained, and how many there are with those of the frozen base. */
  get_nb_trainable_parameters(): [trainable: number, all: number] {
    const all = [...this.parts].map(([, part]) => part);
    return [sizeOf(this.namedParameters()), this.base_model.numParameters() + countOf(all)];
  }

  /** Prints what PEFT prints. */
  print_trainable_parameters(): void {
    console.log(this.trainable());
  }

  /** As PEFT prints it. */
  override print(): string {
    return peftPrinted(this.base_model, new Map(this.parts));
  }

  /** Its adapters, and what is trained. */
  protected override get printedHead(): string {
    const state = (name: string) => (this.parts.active.includes(name) ? 'active' : 'not active');
    const adapters = [...this.parts].map(([name, { config }]) => `${show(name)}: ${config.summary}, ${state(name)}.`);
    return [...adapters, this.trainable()].join(' ');
  }

  private trainable(): string {
    const [trainable, all] = this.get_nb_trainable_parameters();
    return trainableText(trainable, all);
  }

  /** Continues rows of token ids with the adapters, as the model's own `generate` does. */
  get generate(): Generates<M> {
    const model = this.base_model as unknown as { generate(...given: unknown[]): unknown };
    return model.generate.bind(model) as Generates<M>;
  }

  /** Runs f with the adapters off: the base model as it was, but for a table or head that one brought (see from_pretrained). */
  async disable_adapter<T>(f: () => T | Promise<T>): Promise<T> {
    this.refuseMerged('disable_adapter');
    this.parts.turnOff();
    try {
      return await f();
    } finally {
      this.parts.turnOn();
    }
  }

  /** Takes all adapters off the base model and frees them. */
  unload(): M {
    refuseHeld(this.base_model, 'unload');
    this.unmerge_adapter();
    for (const [name] of [...this.parts].toReversed()) this.delete_adapter(name);
    if (worn.get(this.base_model) === this) worn.delete(this.base_model);
    return this.base_model;
  }
}

/** Puts an adapter into a model's modules; `seed` draws its first values. */
export function get_peft_model<M extends BaseModel>(model: M, config: PeftConfig, { seed = 42 }: { seed?: number } = {}): PeftModel<M> {
  if (!(model instanceof Module) || model instanceof PeftModel)
    throw new OptionError('get_peft_model takes a model from AutoModelForCausalLM.from_pretrained.');
  return PeftModel.attach(model, configOf(config), seed);
}

/** The frozen model inside, whatever stands around it. */
export const baseOf = <M extends BaseModel>(model: M | PeftModel<M>): M => (model instanceof PeftModel ? model.base_model : model);

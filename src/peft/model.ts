import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { emit } from '../core/events';
import { show } from '../core/options';
import { Random } from '../core/random';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { writeText } from '../formats/atomic';
import { readJson } from '../formats/json';
import { PICKLE } from '../formats/pickle';
import { type LowRank, type Matrix, Module, type Parameter, readParameters, writeTensors } from '../nn';
import { adoptMatrices, matrixNames } from './base_layers';
import { refuseHeld, takeOff, worn } from './hold';
import { LoraTerm } from './lora';
import { Merged, packer } from './merge';
import {
  type Adapter,
  type BaseModel,
  type CommonOptions,
  configOf,
  ModuleAdapter,
  methodOf,
  type PeftConfig,
  type PeftMethod,
  PREFIX,
  savedConfig,
} from './method';
import * as methods from './methods';
import { SavedModules } from './saved_modules';

export type { BaseModel } from './method';

/** The methods by their peft_type. */
const METHODS: Record<string, PeftMethod> = Object.fromEntries(
  Object.values(methods).map((method) => [method.spec.peft_type, method as unknown as PeftMethod]),
);

export interface SaveOptions {
  /**
   * Whether the matrices of an adapted embedding table and output head are saved with the adapter. As in PEFT they are by default,
   * although they are not trained: an adapter beside them says which ones it was trained with.
   */
  save_embedding_layers?: boolean | 'auto';
  /** Names of the adapters to save; by default all. */
  selected_adapters?: string[] | null;
}

/** One of a model's adapters: what its method made, whole modules beside it, and what loading it did to the base model. */
interface Part {
  config: PeftConfig;
  adapters: Adapter[];
  restoreBase: () => void;
}

const DEFAULT = 'default';
const FILE = 'adapter_model.safetensors';

/** A frozen base model with one or more adapters, of any methods, by name; those that are active answer and are trained. */
export class PeftModel<M extends BaseModel = BaseModel> extends Module {
  private readonly parts = new Map<string, Part>();
  private active: string[] = [];
  /** How many `disable_adapter` are on. */
  private off = 0;
  private merged?: Merged;

  private constructor(readonly base_model: M) {
    super();
  }

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
    const { active } = this;
    this.set_adapter([]);
    // A table that it brought is the base model's no more for whatever comes.
    for (const part of this.parts.values()) part.restoreBase();
    worn.delete(this.base_model);
    return {
      back: () => {
        worn.set(this.base_model, this);
        this.set_adapter(active);
      },
      free: (because) => {
        const what = [...this.parts.values()].map(({ config }) => config.summary).join(', ');
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

  /**
   * Loads an adapter that this library or PEFT saved. Missing and unexpected tensors are errors. Where it brings an embedding table or
   * output head of other values than the model's, they take the place of the model's until unload(), as in PEFT. An adapter that the
   * model wears is replaced.
   */
  static async from_pretrained<M extends BaseModel>(model: M, folder: string, { adapter_name = DEFAULT } = {}): Promise<PeftModel<M>> {
    const config = await configIn(folder);
    const before = takeOff(model);
    const peft = new PeftModel<M>(model);
    try {
      peft.add(adapter_name, config, 42, true);
      await peft.fill(adapter_name, folder);
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
    return [...this.active];
  }

  get active_adapter(): string {
    return this.active[0] ?? DEFAULT;
  }

  /** The config of the (first) active adapter. */
  get active_peft_config(): PeftConfig {
    return this.part(this.active_adapter).config;
  }

  /** Puts another fresh adapter beside the ones there are; `set_adapter` makes it answer. */
  add_adapter(name: string, config: PeftConfig, { seed = 42 }: { seed?: number } = {}): void {
    this.add(name, configOf(config, METHODS), seed, false);
  }

  /** Loads another adapter beside the ones there are; `set_adapter` makes it answer. */
  async load_adapter(folder: string, name: string): Promise<void> {
    this.add(name, await configIn(folder), 42, true);
    try {
      await this.fill(name, folder);
    } catch (error) {
      this.delete_adapter(name);
      throw error;
    }
  }

  /** Makes these adapters, and no others, answer and be trained. Several add up. */
  set_adapter(names: string | string[]): void {
    const wanted = [names].flat();
    for (const name of wanted) this.part(name);
    this.refuseMerged('set_adapter');
    this.refuseClash(wanted);
    refuseHeld(this.base_model, 'set_adapter');
    if (!this.off) this.detach(this.active);
    this.active = [...new Set(wanted)];
    if (!this.off) this.attachAll();
  }

  /** Takes an adapter off and frees it. */
  delete_adapter(name: string): void {
    const part = this.part(name);
    this.refuseMerged('delete_adapter');
    refuseHeld(this.base_model, 'delete_adapter');
    if (this.active.includes(name) && !this.off) this.detach([name]);
    this.active = this.active.filter((other) => other !== name);
    part.restoreBase();
    free(part.adapters);
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
    const { task_type } = this.base_model;
    const { task_type: asked } = config as unknown as CommonOptions;
    if (task_type && asked && task_type !== asked)
      throw new OptionError(
        `The adapter is for task_type ${show(asked)}, but the model for ${show(task_type)}: set task_type: ${show(task_type)}, or load the model with another head.`,
      );
    this.base_model.requires_grad_(false);
    const terms = [...this.parts.values()].reduce((n, { adapters }) => n + adapters[0].modules.size, 0);
    const adapters = [config.apply(this.base_model, { random: Random.seeded(seed), saved, terms })];
    try {
      if (config.modules_to_save?.length)
        adapters.push(new SavedModules(this.base_model, config.modules_to_save, new Set(adapters[0].modules.values()), config.prefix));
    } catch (error) {
      free(adapters);
      throw error;
    }
    this.parts.set(name, { config, adapters, restoreBase: () => {} });
    worn.set(this.base_model, this);
  }

  private part(name: string): Part {
    const part = this.parts.get(name);
    if (!part && !this.parts.size)
      throw new OptionError(`The adapter ${show(name)} was taken off its model, by unload() or by another one that took its place.`);
    if (!part)
      throw new OptionError(
        `There is no adapter called ${show(name)}; there are ${[...this.parts.keys()].map(show).join(', ') || 'none'}.`,
      );
    return part;
  }

  private refuseMerged(what: string): void {
    if (this.merged) throw new OptionError(`${what}: adapters are merged into the weights. Call unmerge_adapter() first.`);
  }

  /** Several adapters can stand beside a module's own tensors, but only one in their place. */
  private refuseClash(names: string[]): void {
    const taken = new Map<Module, string>();
    for (const name of new Set(names))
      for (const [path, module] of this.part(name).adapters.flatMap(({ replaced }) => [...replaced])) {
        const other = taken.get(module);
        if (other)
          throw new OptionError(
            `set_adapter: ${show(other)} and ${show(name)} both put their own ${path} in the place of the model's. Choose one of the two.`,
          );
        taken.set(module, name);
      }
  }

  private detach(names: string[]): void {
    for (const name of names.toReversed()) for (const adapter of this.part(name).adapters) adapter.detach();
  }

  private attachAll(): void {
    for (const name of this.active) for (const adapter of this.part(name).adapters) adapter.attach();
  }

  private async fill(name: string, folder: string): Promise<void> {
    if (!existsSync(join(folder, FILE)) && existsSync(join(folder, 'adapter_model.bin')))
      throw new FileError(`${folder} has its weights in adapter_model.bin: ${PICKLE}`);
    const part = this.part(name);
    await this.read(name, folder);
    part.restoreBase = await adoptMatrices(join(folder, FILE), PREFIX, part.adapters[0].modules);
  }

  private read(name: string, folder: string): Promise<void> {
    const beside = new Set(matrixNames(PREFIX, this.part(name).adapters[0].modules).keys());
    return readParameters(join(folder, FILE), this.parametersOf(name), beside);
  }

  /** LoRA's terms of the active adapters by the paths of the modules they stand beside. */
  get pairs(): Map<string, LowRank> {
    const found = new Map<string, LowRank>();
    for (const name of this.active)
      for (const adapter of this.part(name).adapters)
        if (adapter instanceof ModuleAdapter)
          for (const [path, { term }] of adapter.terms) if (term instanceof LoraTerm) found.set(path, term.pair);
    return found;
  }

  private parametersOf(name: string): Map<string, Parameter> {
    return new Map(this.part(name).adapters.flatMap(({ parameters }) => [...parameters]));
  }

  /** Trained tensors by the names that PEFT saves them under; of several active adapters behind the adapter's name. */
  namedParameters(): Map<string, Parameter> {
    if (this.active.length === 1) return this.parametersOf(this.active[0]);
    return new Map(this.active.flatMap((name) => [...this.parametersOf(name)].map(([key, p]) => [`${name}/${key}`, p] as const)));
  }

  /** The trained tensors inside one module of the base model. */
  parametersIn(module: Module): Parameter[] {
    return this.active.flatMap((name) => this.part(name).adapters.flatMap((adapter) => adapter.parametersIn(module)));
  }

  /** How many values are trained, and how many there are with those of the frozen base. */
  get_nb_trainable_parameters(): [trainable: number, all: number] {
    const count = (names: Iterable<string>) =>
      [...names].reduce((n, name) => [...this.parametersOf(name).values()].reduce((sum, { tensor }) => sum + tensor.size, n), 0);
    return [count(this.active), this.base_model.numParameters() + count(this.parts.keys())];
  }

  /** Prints what PEFT prints. */
  print_trainable_parameters(): void {
    const [trainable, all] = this.get_nb_trainable_parameters();
    const [few, many] = [trainable, all].map((n) => n.toLocaleString('en-US'));
    console.log(`trainable params: ${few} || all params: ${many} || trainable%: ${((100 * trainable) / all).toFixed(4)}`);
  }

  override printedOptions(): string {
    const [trainable, all] = this.get_nb_trainable_parameters();
    const state = (name: string) => (this.active.includes(name) ? 'active' : 'not active');
    const adapters = [...this.parts].map(([name, { config }]) => `${show(name)}: ${config.summary}, ${state(name)}`);
    return [...adapters, `trainable params: ${trainable.toLocaleString('en-US')} of ${all.toLocaleString('en-US')}`].join('\n');
  }

  /** Continues a row of token ids with the adapters, as the model's own `generate` does. */
  generate<A extends unknown[], R>(this: PeftModel<BaseModel & { generate(...given: A): R }>, ...given: A): R {
    return this.base_model.generate(...given);
  }

  /** Runs f with the adapters off: the base model as it was, but for a table or head that one brought (see from_pretrained). */
  async disable_adapter<T>(f: () => T | Promise<T>): Promise<T> {
    this.refuseMerged('disable_adapter');
    if (this.off++ === 0) this.detach(this.active);
    try {
      return await f();
    } finally {
      if (--this.off === 0) this.attachAll();
    }
  }

  /** Takes all adapters off the base model and frees them. */
  unload(): M {
    refuseHeld(this.base_model, 'unload');
    this.merged?.undo();
    this.merged = undefined;
    for (const name of [...this.parts.keys()].toReversed()) this.delete_adapter(name);
    if (worn.get(this.base_model) === this) worn.delete(this.base_model);
    return this.base_model;
  }

  /**
   * Merges the active adapters into the weights, in 16 or 32 bits (a 4-bit matrix is unpacked for it); `unmerge_adapter` takes that back.
   * `dtype`: 'bfloat16' or 'float32'.
   */
  async merge_adapter({ dtype = 'bfloat16' }: { dtype?: string } = {}): Promise<void> {
    if (this.merged) return;
    this.checkMergeable();
    this.merged = await Merged.into(this.base_model, dtype);
  }

  unmerge_adapter(): void {
    this.merged?.undo();
    this.merged = undefined;
  }

  /**
   * Merges the active adapters into the weights for good and gives back the base model; says how far the largest logit moved, since
   * merged weights are rounded. `dtype`: 'bfloat16' or 'float32'.
   */
  async merge_and_unload({ dtype = 'bfloat16' }: { dtype?: string } = {}): Promise<M> {
    this.checkMergeable();
    this.unmerge_adapter();
    const before = await probe(this.base_model);
    const merged = await Merged.into(this.base_model, dtype);
    for (const name of this.active) for (const adapter of this.part(name).adapters) await adapter.keep(packer(dtype));
    merged.keep();
    this.unload();
    // A head that has become another than the table is saved as one of its own.
    const { config } = this.base_model as { config: { tie_word_embeddings?: boolean } };
    if (config.tie_word_embeddings && [...this.base_model.namedTensors()].some(([name]) => name === 'lm_head.weight'))
      config.tie_word_embeddings = false;
    const after = await probe(this.base_model);
    if (before && after) {
      const drift = before.reduce((most, value, i) => Math.max(most, Math.abs(value - after[i])), 0);
      emit('progress', {
        id: 'merge',
        text: `Merged in ${dtype}: the logits of a probe of ${PROBE} tokens moved by ${drift.toPrecision(2)} at most.`,
        done: true,
      });
    }
    return this.base_model;
  }

  private checkMergeable(): void {
    refuseHeld(this.base_model, 'merge');
    if (this.off) throw new OptionError('Adapters are disabled; merge them outside of disable_adapter.');
    for (const name of this.active)
      for (const { unmergeable } of this.part(name).adapters)
        if (unmergeable) throw new OptionError(`The adapter ${show(name)} cannot be merged: ${unmergeable}`);
  }

  /**
   * Writes adapter_config.json, adapter_model.safetensors and README.md, as PEFT does: the adapter called 'default' into the folder,
   * others into folders of their names inside it.
   */
  async save_pretrained(folder: string, { save_embedding_layers = 'auto', selected_adapters = null }: SaveOptions = {}): Promise<void> {
    if (![true, false, 'auto'].includes(save_embedding_layers))
      throw new OptionError(`save_pretrained: save_embedding_layers is ${show(save_embedding_layers)}; it can be true, false or 'auto'.`);
    const base = this.base_model.config._name_or_path;
    for (const name of selected_adapters ?? this.parts.keys()) {
      const { config, adapters } = this.part(name);
      const to = placeOf(folder, name);
      await mkdir(to, { recursive: true });
      const tensors: [string, Matrix][] = [...this.parametersOf(name)];
      if (save_embedding_layers) for (const [key, { weight }] of matrixNames(PREFIX, adapters[0].modules)) tensors.push([key, weight]);
      await writeTensors(join(to, FILE), tensors);
      await writeText(join(to, 'adapter_config.json'), config.toJson(base));
      await writeText(
        join(to, 'README.md'),
        `---\nbase_model: ${base}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- ${config.peft_type.toLowerCase()}\n- tunebook\n---\n\n` +
          `${config.summary} for ${base}, trained with tunebook.\n`,
      );
    }
  }

  /** Where a saved model of this kind has its (first) adapter's values. */
  get weightsFile(): string {
    return placeOf('', this.parts.has(DEFAULT) ? DEFAULT : (this.parts.keys().next().value ?? DEFAULT), FILE);
  }

  /** Replaces the values of these adapters by those of saved ones of the same shape. */
  async restore(folder: string): Promise<void> {
    for (const name of this.parts.keys()) await this.read(name, placeOf(folder, name));
  }
}

function free(adapters: Adapter[]): void {
  for (const { parameters } of adapters) for (const { tensor } of parameters.values()) tensor.dispose();
}

const placeOf = (folder: string, name: string, ...rest: string[]): string => join(folder, ...(name === DEFAULT ? [] : [name]), ...rest);

/** The config of a saved adapter. */
async function configIn(folder: string): Promise<PeftConfig> {
  const path = join(folder, 'adapter_config.json');
  if (!existsSync(path))
    throw new FileError(
      `${folder} has no adapter_config.json: it is not a saved adapter. A folder written by save_pretrained or trainer.save_model() is expected.`,
    );
  const json = await readJson(path);
  const method = methodOf(json.peft_type, METHODS, (text) => new FileError(`${dirname(path)} holds ${text}`));
  try {
    return savedConfig(method, json, path);
  } catch (error) {
    if (error instanceof OptionError) throw new FileError(`The adapter in ${folder} cannot be used. ${error.message}`);
    throw error;
  }
}

/** Tokens of the text by whose logits a merged model is compared. */
const PROBE = 16;

/** The logits of a few tokens from all over the vocabulary; undefined of a model that has none. */
async function probe(model: BaseModel): Promise<Float32Array | undefined> {
  const { forward, config } = model as BaseModel & { forward?: (ids: tf.Tensor2D) => tf.Tensor; config: { vocab_size?: number } };
  const words = config.vocab_size;
  if (!forward || !words) return undefined;
  const ids = Array.from({ length: PROBE }, (_, i) => Math.floor(((i + 0.5) * words) / PROBE));
  return take(tf.tidy(() => forward.call(model, tf.tensor2d([ids], [1, PROBE], 'int32'))));
}

/** Puts an adapter into a model's modules; `seed` draws its first values. */
export function get_peft_model<M extends BaseModel>(model: M, config: PeftConfig, { seed = 42 }: { seed?: number } = {}): PeftModel<M> {
  if (!(model instanceof Module) || model instanceof PeftModel)
    throw new OptionError('get_peft_model takes a model from AutoModelForCausalLM.from_pretrained.');
  return PeftModel.attach(model, configOf(config, METHODS), seed);
}

/** The frozen model inside, whatever stands around it. */
export const baseOf = <M extends BaseModel>(model: M | PeftModel<M>): M => (model instanceof PeftModel ? model.base_model : model);

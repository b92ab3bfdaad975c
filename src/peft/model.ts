import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { show } from '../core/options';
import { Random } from '../core/random';
import * as tf from '../engine/tf';
import { readJson } from '../formats/json';
import { type Adaptable, Embedding, type LowRank, type Matrix, Module, Parameter, readParameters, writeTensors } from '../nn';
import { adoptMatrices, matrixNames } from './base_layers';
import { LoraConfig } from './config';
import { targetModules } from './targets';

const PREFIX = 'base_model.model.';

export interface SaveOptions {
  /**
   * Whether the matrices of an adapted embedding table and output head are saved with the adapter. As in PEFT they are by default,
   * although they are not trained: an adapter beside them says which ones it was trained with.
   */
  save_embedding_layers?: boolean | 'auto';
}

/** A model that adapters fit: its linear layers are found by path, and saved adapters call it by name. */
export type BaseModel = Module & { readonly config: { _name_or_path: string } };

/** A frozen base model with a trained adapter beside it. */
export class PeftModel<M extends BaseModel = BaseModel> extends Module {
  /** The low-rank terms by the paths of the modules they stand beside. */
  readonly pairs = new Map<string, LowRank>();
  /** Undoes what loading an adapter did to the base model beside it. */
  private restoreBase: () => void = () => {};
  private attached = true;

  private constructor(
    readonly base_model: M,
    readonly peft_config: LoraConfig,
    private readonly layers: Map<string, Adaptable>,
  ) {
    super();
  }

  /** Puts a fresh adapter beside the modules that the config names. The model answers as before. `saved`: values will come from a file. */
  static attach<M extends BaseModel>(model: M, config: LoraConfig, seed = 42, saved = false): PeftModel<M> {
    const layers = targetModules(model, config, saved);
    for (const [path, layer] of layers)
      if (layer.lowRank.length)
        throw new OptionError(`${path} already has an adapter. Load the base model again, or unload() the first adapter.`);
    model.requires_grad_(false);
    const peft = new PeftModel<M>(model, config, layers);
    const random = Random.seeded(seed);
    for (const [path, layer] of layers) {
      const { r, scale } = config.of(path);
      const draw = (rows: number, columns: number, next: () => number) =>
        new Parameter(tf.keep(tf.tensor2d(Float32Array.from({ length: rows * columns }, next), [rows, columns])));
      const first = firstValues(layer, config, r, random);
      const pair: LowRank = {
        a: draw(r, layer.inFeatures, first.a),
        b: draw(layer.outFeatures, r, first.b),
        scale,
        dropout: config.lora_dropout,
        serial: peft.pairs.size,
      };
      peft.pairs.set(path, pair);
      layer.lowRank.push(pair);
    }
    return peft;
  }

  /**
   * Loads an adapter that this library or PEFT saved. Missing and unexpected tensors are errors. Where it brings an embedding table or
   * output head of other values than the model's, they take the place of the model's until unload(), as in PEFT.
   */
  static async from_pretrained<M extends BaseModel>(model: M, folder: string): Promise<PeftModel<M>> {
    const path = join(folder, 'adapter_config.json');
    if (!existsSync(path))
      throw new FileError(
        `${folder} has no adapter_config.json: it is not a saved adapter. A folder written by save_pretrained or trainer.save_model() is expected.`,
      );
    const json = await readJson(path);
    if (json.peft_type !== 'LORA') throw new FileError(`${folder} holds a ${show(json.peft_type)} adapter; tunebook reads LORA so far.`);
    let config: LoraConfig;
    try {
      config = LoraConfig.saved(json, path);
    } catch (error) {
      if (error instanceof OptionError) throw new FileError(`The adapter in ${folder} cannot be used. ${error.message}`);
      throw error;
    }
    const peft = PeftModel.attach(model, config, 42, true);
    try {
      await peft.restore(folder);
      peft.restoreBase = await adoptMatrices(join(folder, peft.weightsFile), PREFIX, peft.layers);
    } catch (error) {
      peft.unload();
      throw error;
    }
    return peft;
  }

  /** Trained tensors by the names that PEFT saves them under. */
  namedParameters(): Map<string, Parameter> {
    const all = new Map<string, Parameter>();
    for (const [path, { a, b }] of this.pairs) {
      const [first, second] =
        this.layers.get(path) instanceof Embedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight'];
      all.set(`${PREFIX}${path}.${first}`, a);
      all.set(`${PREFIX}${path}.${second}`, b);
    }
    return all;
  }

  /** The trained tensors inside one module of the base model. */
  parametersIn(module: Module): Parameter[] {
    const inside = new Set([...module.namedModules()].map(([, m]) => m));
    const pairs = [...this.layers].flatMap(([path, layer]) => (inside.has(layer) ? [this.pairs.get(path) as LowRank] : []));
    return pairs.flatMap(({ a, b }) => [a, b]);
  }

  /** How many values are trained, and how many there are with those of the frozen base. */
  get_nb_trainable_parameters(): [trainable: number, all: number] {
    let trainable = 0;
    for (const { tensor } of this.namedParameters().values()) trainable += tensor.size;
    return [trainable, this.base_model.numParameters() + trainable];
  }

  /** Prints what PEFT prints. */
  print_trainable_parameters(): void {
    const [trainable, all] = this.get_nb_trainable_parameters();
    const [few, many] = [trainable, all].map((count) => count.toLocaleString('en-US'));
    console.log(`trainable params: ${few} || all params: ${many} || trainable%: ${((100 * trainable) / all).toFixed(4)}`);
  }

  /** Continues a row of token ids with the adapter, as the model's own `generate` does. */
  generate<A extends unknown[], R>(this: PeftModel<BaseModel & { generate(...given: A): R }>, ...given: A): R {
    return this.base_model.generate(...given);
  }

  /** Runs f with the adapter off: the base model as it was, but for a table or head that the adapter brought (see from_pretrained). */
  async disable_adapter<T>(f: () => T | Promise<T>): Promise<T> {
    const before = [...this.layers].map(([path, layer]) => ({ path, layer, lowRank: layer.lowRank }));
    for (const { path, layer, lowRank } of before) layer.lowRank = lowRank.filter((pair) => pair !== this.pairs.get(path));
    try {
      return await f();
    } finally {
      for (const { layer, lowRank } of before) layer.lowRank = lowRank;
    }
  }

  /** Takes the adapter off the base model and frees it. */
  unload(): M {
    if (!this.attached) return this.base_model;
    this.attached = false;
    this.restoreBase();
    for (const [path, layer] of this.layers) layer.lowRank = layer.lowRank.filter((pair) => pair !== this.pairs.get(path));
    for (const { tensor } of this.namedParameters().values()) tensor.dispose();
    this.pairs.clear();
    return this.base_model;
  }

  /** Writes adapter_config.json, adapter_model.safetensors and README.md, as PEFT does. */
  async save_pretrained(folder: string, { save_embedding_layers = 'auto' }: SaveOptions = {}): Promise<void> {
    if (![true, false, 'auto'].includes(save_embedding_layers))
      throw new OptionError(`save_pretrained: save_embedding_layers is ${show(save_embedding_layers)}; it can be true, false or 'auto'.`);
    await mkdir(folder, { recursive: true });
    const base = this.base_model.config._name_or_path;
    const tensors: [string, Matrix][] = [...this.namedParameters()];
    if (save_embedding_layers) for (const [name, { weight }] of matrixNames(PREFIX, this.layers)) tensors.push([name, weight]);
    await writeTensors(join(folder, this.weightsFile), tensors);
    await writeFile(join(folder, 'adapter_config.json'), this.peft_config.toJson(base));
    await writeFile(
      join(folder, 'README.md'),
      `---\nbase_model: ${base}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- tunebook\n---\n\n` +
        `A LoRA adapter (r = ${this.peft_config.r}, lora_alpha = ${this.peft_config.lora_alpha}) for ${base}, trained with tunebook.\n`,
    );
  }

  readonly weightsFile = 'adapter_model.safetensors';

  /** Replaces the values of this adapter by those of a saved one of the same shape. */
  restore(folder: string): Promise<void> {
    return readParameters(join(folder, this.weightsFile), this.namedParameters(), new Set(matrixNames(PREFIX, this.layers).keys()));
  }
}

/** What draws the first values of a pair, one by one. */
function firstValues(layer: Adaptable, { init_lora_weights: init }: LoraConfig, r: number, random: Random) {
  const uniform = (size: number) => () => (2 * random.uniform() - 1) / Math.sqrt(size);
  const normal = (deviation: number) => () => random.normal() * deviation;
  const zero = () => 0;
  if (layer instanceof Embedding) return { a: init === false ? normal(1) : zero, b: normal(1) };
  const gaussian = typeof init === 'string';
  return { a: gaussian ? normal(1 / r) : uniform(layer.inFeatures), b: init === false ? uniform(r) : zero };
}

/** Puts an adapter beside a model's modules; `seed` draws its first values. */
export function get_peft_model<M extends BaseModel>(model: M, config: LoraConfig, { seed = 42 }: { seed?: number } = {}): PeftModel<M> {
  if (!(model instanceof Module) || model instanceof PeftModel)
    throw new OptionError('get_peft_model takes a model from AutoModelForCausalLM.from_pretrained.');
  return PeftModel.attach(model, config instanceof LoraConfig ? config : new LoraConfig(config), seed);
}

/** The frozen model inside, whatever stands around it. */
export const baseOf = <M extends BaseModel>(model: M | PeftModel<M>): M => (model instanceof PeftModel ? model.base_model : model);

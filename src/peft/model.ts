import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { show } from '../core/options';
import { Random } from '../core/random';
import * as tf from '../engine/tf';
import { readJson } from '../formats/json';
import { type LowRank, Module, Parameter, readParameters, writeTensors } from '../nn';
import { LoraConfig } from './config';
import { targetModules } from './targets';

const PREFIX = 'base_model.model.';

/** A model that adapters fit: its linear layers are found by path, and saved adapters call it by name. */
export type BaseModel = Module & { readonly config: { _name_or_path: string } };

/** A frozen base model with a trained adapter beside it. */
export class PeftModel<M extends BaseModel = BaseModel> extends Module {
  /** The low-rank terms by the paths of the modules they stand beside. */
  readonly pairs = new Map<string, LowRank>();
  private attached = true;

  private constructor(
    readonly base_model: M,
    readonly peft_config: LoraConfig,
  ) {
    super();
  }

  /** Puts a fresh adapter beside the modules that the config names. B is zero, so the model answers as before. */
  static attach<M extends BaseModel>(model: M, config: LoraConfig, seed = 42): PeftModel<M> {
    const targets = targetModules(model, config);
    for (const [path, linear] of targets)
      if (linear.lowRank.length)
        throw new OptionError(`${path} already has an adapter. Load the base model again, or unload() the first adapter.`);
    const peft = new PeftModel<M>(model, config);
    const random = Random.seeded(seed);
    for (const [path, linear] of targets) {
      const { r, scale } = config.of(path);
      const draw = (rows: number, columns: number, next: () => number) =>
        new Parameter(tf.keep(tf.tensor2d(Float32Array.from({ length: rows * columns }, next), [rows, columns])));
      const uniform = (size: number) => () => (2 * random.uniform() - 1) / Math.sqrt(size);
      const a = config.init_lora_weights === 'gaussian' ? () => random.normal() / r : uniform(linear.inFeatures);
      const b = config.init_lora_weights === false ? uniform(r) : () => 0;
      const pair: LowRank = {
        a: draw(r, linear.inFeatures, a),
        b: draw(linear.outFeatures, r, b),
        scale,
        dropout: config.lora_dropout,
        serial: peft.pairs.size,
      };
      peft.pairs.set(path, pair);
      linear.lowRank.push(pair);
    }
    return peft;
  }

  /** Loads an adapter that this library or PEFT saved. Missing and unexpected tensors are errors. */
  static async from_pretrained<M extends BaseModel>(model: M, folder: string): Promise<PeftModel<M>> {
    const path = join(folder, 'adapter_config.json');
    if (!existsSync(path))
      throw new FileError(
        `${folder} has no adapter_config.json: it is not a saved adapter. A folder written by save_pretrained or trainer.save_model() is expected.`,
      );
    const json = await readJson(path);
    if (json.peft_type !== 'LORA') throw new FileError(`${folder} holds a ${show(json.peft_type)} adapter; tunebook reads LORA so far.`);
    const { peft_type: _, peft_version: __, ...options } = json;
    const known = Object.fromEntries(
      Object.entries(options).filter(([name, value]) => {
        try {
          new LoraConfig({ [name]: value } as object);
          return true;
        } catch (error) {
          if (!(error as Error).message.includes('has no option')) throw error;
          warnOnce(`${path}: the option ${name} is newer than this version of tunebook and is ignored.`);
          return false;
        }
      }),
    );
    const peft = PeftModel.attach(model, new LoraConfig({ ...known, inference_mode: false } as object));
    try {
      await peft.restore(folder);
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
      all.set(`${PREFIX}${path}.lora_A.weight`, a);
      all.set(`${PREFIX}${path}.lora_B.weight`, b);
    }
    return all;
  }

  /** The trained tensors inside one module of the base model. */
  parametersIn(module: Module): Parameter[] {
    const owned = new Set([...module.namedModules()].flatMap(([, m]) => ('lowRank' in m ? (m.lowRank as LowRank[]) : [])));
    return [...this.pairs.values()].filter((pair) => owned.has(pair)).flatMap(({ a, b }) => [a, b]);
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

  /** Runs f with the adapter off: the base model as it was. */
  async disable_adapter<T>(f: () => T | Promise<T>): Promise<T> {
    const off = [...this.base_model.namedModules()].flatMap(([, m]) => ('lowRank' in m ? [m as { lowRank: LowRank[] }] : []));
    const before = off.map((m) => m.lowRank);
    const mine = new Set(this.pairs.values());
    for (const m of off) m.lowRank = m.lowRank.filter((pair) => !mine.has(pair));
    try {
      return await f();
    } finally {
      for (const [i, m] of off.entries()) m.lowRank = before[i];
    }
  }

  /** Takes the adapter off the base model and frees it. */
  unload(): M {
    if (!this.attached) return this.base_model;
    this.attached = false;
    const mine = new Set(this.pairs.values());
    for (const [, m] of this.base_model.namedModules())
      if ('lowRank' in m) m.lowRank = (m.lowRank as LowRank[]).filter((pair) => !mine.has(pair));
    for (const { tensor } of this.namedParameters().values()) tensor.dispose();
    this.pairs.clear();
    return this.base_model;
  }

  /** Writes adapter_config.json, adapter_model.safetensors and README.md, as PEFT does. */
  async save_pretrained(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    const base = this.base_model.config._name_or_path;
    await writeTensors(join(folder, this.weightsFile), this.namedParameters());
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
    return readParameters(join(folder, this.weightsFile), this.namedParameters());
  }
}

/** Puts an adapter beside a model's modules; `seed` draws its first values. */
export function get_peft_model<M extends BaseModel>(model: M, config: LoraConfig, { seed = 42 }: { seed?: number } = {}): PeftModel<M> {
  if (!(model instanceof Module) || model instanceof PeftModel)
    throw new OptionError('get_peft_model takes a model from AutoModelForCausalLM.from_pretrained.');
  return PeftModel.attach(model, config instanceof LoraConfig ? config : new LoraConfig(config), seed);
}

/** The frozen model inside, whatever stands around it. */
export const baseOf = <M extends BaseModel>(model: M | PeftModel<M>): M => (model instanceof PeftModel ? model.base_model : model);

import { basename, dirname, join, resolve } from 'node:path';
import { OptionError } from '../core/errors';
import { readOptions, show } from '../core/options';
import * as tf from '../engine/tf';
import { writeText } from '../formats/atomic';
import type { Writable } from '../formats/safetensors';
import { type GivenPush, pushSaved } from '../hub/push';
import type { Pushed } from '../hub/upload';
import { Module } from '../nn';
import type { Adapter } from './adapter';
import type { BaseModel } from './method';
import { FILE, isGguf, type SaveOptions } from './part';
import { Parts } from './parts';

export const DEFAULT = 'default';

const placeOf = (folder: string, name: string, ...rest: string[]): string => join(folder, ...(name === DEFAULT ? [] : [name]), ...rest);

/** A model's adapters as files: PEFT's, llama.cpp's, a repository of the Hub. */
export abstract class SavedAdapters<M extends BaseModel> extends Module {
  protected readonly parts = new Parts();

  protected constructor(readonly base_model: M) {
    super();
  }

  /** The name of the (first) active adapter. */
  get active_adapter(): string {
    return this.parts.active[0] ?? DEFAULT;
  }

  /**
   * Writes adapter_config.json, adapter_model.safetensors and README.md, as PEFT does: the adapter called 'default' into the folder,
   * others into folders of their names inside it.
   */
  async save_pretrained(folder: string, { save_embedding_layers = 'auto', selected_adapters = null }: SaveOptions = {}): Promise<void> {
    if (![true, false, 'auto'].includes(save_embedding_layers))
      throw new OptionError(`save_pretrained: save_embedding_layers is ${show(save_embedding_layers)}; it can be true, false or 'auto'.`);
    const base = this.base_model.config._name_or_path;
    for (const name of selected_adapters ?? [...this.parts].map(([name]) => name))
      await this.parts.get(name).save(placeOf(folder, name), base, save_embedding_layers);
  }

  /**
   * Pushes the adapters, as save_pretrained writes them, to a repository of the Hub, which is made where it is not there: 'owner/name', or
   * 'name' under the token's account.
   */
  push_to_hub(repo_id: string, options: GivenPush = {}): Promise<Pushed> {
    return pushSaved(repo_id, options, 'adapter', (folder) => this.save_pretrained(folder));
  }

  /**
   * Writes a LoRA adapter as a GGUF file for llama.cpp, as its convert_lora_to_gguf.py does, and an Ollama Modelfile beside it. `path`: the file (*.gguf) or a
   * folder. `outtype`: 'f32' (the default), 'f16', 'bf16' or 'q8_0'. What that format cannot hold (an adapted output head or embedding table, whole modules,
   * other methods) is an OptionError with the remedy. Returns the file's path.
   */
  async save_pretrained_gguf(path: string, options: { adapter_name?: string; outtype?: string } = {}): Promise<string> {
    const defaults = { adapter_name: this.active_adapter, outtype: 'f32' };
    const { adapter_name, outtype } = readOptions('save_pretrained_gguf', options, defaults);
    const file = isGguf(path) ? path : join(path, `${adapter_name === DEFAULT ? 'adapter' : adapter_name}.${outtype.toUpperCase()}.gguf`);
    await this.parts.get(adapter_name).saveGguf(file, this.base_model, outtype);
    const base = this.base_model.config._name_or_path;
    const from = isGguf(base) ? resolve(base) : `./${basename(base)}.Q8_0.gguf`;
    await writeText(
      join(dirname(file), 'Modelfile'),
      `# The model that the adapter is for, as GGUF: model.save_pretrained_gguf\nFROM ${from}\nADAPTER ./${basename(file)}\n`,
    );
    return file;
  }

  /** Where a saved model of this kind has its (first) adapter's values. */
  get weightsFile(): string {
    const [[first] = [DEFAULT]] = this.parts;
    return placeOf('', this.parts.has(DEFAULT) ? DEFAULT : first, FILE);
  }

  /** Replaces the values of these adapters by those of saved ones of the same shape. */
  async restore(folder: string): Promise<void> {
    for (const [name, part] of this.parts) await part.restore(placeOf(folder, name));
  }

  private get all(): Adapter[] {
    return [...this.parts].flatMap(([, { adapters }]) => adapters);
  }

  /** What the adapters that are trained add to a step's loss, where one does: [] */
  penalty(): tf.Scalar | undefined {
    const parts = this.parts.attached.flatMap(({ adapters }) =>
      adapters.flatMap((adapter) => (adapter.penalty ? [adapter.penalty()] : [])),
    );
    return parts.length ? parts.reduce((sum, part) => tf.add(sum, part)) : undefined;
  }

  /** Tells the adapters that are trained of a step of the optimizer, counted from 0, with its gradients by name, of which it took `clip` times. */
  stepped(step: number, gradients: ReadonlyMap<string, tf.Tensor>, clip = 1): void {
    const { attached } = this.parts;
    const own = (name: string) =>
      attached.length > 1
        ? new Map([...gradients].flatMap(([key, g]) => (key.startsWith(`${name}/`) ? [[key.slice(name.length + 1), g] as const] : [])))
        : gradients;
    for (const [i, { adapters }] of attached.entries())
      for (const adapter of adapters) adapter.stepped?.(step, own(this.parts.active[i]), clip);
  }

  /** What a checkpoint needs beside the adapters' files. */
  memory(): Writable[] {
    return this.all.flatMap((adapter) => adapter.memory?.() ?? []);
  }

  /** Takes that back. */
  async recall(read: (name: string, shape: number[]) => Promise<tf.Tensor>): Promise<void> {
    for (const adapter of this.all) await adapter.recall?.(read);
  }
}

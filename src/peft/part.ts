import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../core/errors';
import { writeText } from '../formats/atomic';
import { PICKLE } from '../formats/pickle';
import { card, cardName } from '../hub/card';
import { type Matrix, type Module, type Parameter, readParameters, writeTensors } from '../nn';
import { type Adapter, type Keeping, PREFIX } from './adapter';
import { adoptMatrices, matrixNames } from './base_layers';
import { placesOf, readGgufAdapter, writeGgufAdapter } from './gguf';
import { refuseServed } from './hold';
import type { Applied, BaseModel, CommonOptions, PeftConfig } from './method';
import { SavedModules } from './saved_modules';

/** What PEFT calls the file with an adapter's values. */
export const FILE = 'adapter_model.safetensors';

export const isGguf = (path: string): boolean => path.endsWith('.gguf');

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
export class Part {
  /** What its method made, then whole modules. */
  readonly adapters: Adapter[];
  private adopted: { names: string[]; back(): void } = { names: [], back: () => {} };

  /** It is not attached yet. */
  constructor(
    private readonly model: BaseModel,
    readonly config: PeftConfig,
    how: Applied,
  ) {
    const made = config.apply(model, how);
    this.adapters = [made];
    if (!config.modules_to_save?.length) return;
    try {
      this.adapters.push(new SavedModules(model, config.modules_to_save, new Set(made.modules.values()), config.prefix));
    } catch (error) {
      this.free();
      throw error;
    }
  }

  /** Trained tensors by the names that PEFT saves them under. */
  get parameters(): Map<string, Parameter> {
    return new Map(this.adapters.flatMap(({ parameters }) => [...parameters]));
  }

  /** How many modules its method changes. */
  get terms(): number {
    return this.adapters[0].modules.size;
  }

  /** The modules in the place of whose own tensors it puts others, by path. */
  get replaced(): [path: string, module: Module][] {
    return this.adapters.flatMap(({ replaced }) => [...replaced]);
  }

  /** Why it cannot be merged, where it cannot. */
  get unmergeable(): string | undefined {
    return this.adapters.find(({ unmergeable }) => unmergeable)?.unmergeable;
  }

  parametersIn(module: Module): Parameter[] {
    return this.adapters.flatMap((adapter) => adapter.parametersIn(module));
  }

  attach(): void {
    for (const adapter of this.adapters) adapter.attach();
  }

  detach(): void {
    for (const adapter of this.adapters) adapter.detach();
  }

  /** Hands over what it has put into the model in the place of the model's own. */
  async keep(into: Keeping): Promise<void> {
    for (const adapter of this.adapters) await adapter.keep(into);
  }

  /** The matrices of the base model that it has put its own in the place of, whether it is active or not. */
  get brought(): string[] {
    return this.adopted.names;
  }

  /** A table that it brought is the base model's no more. */
  giveBack(): void {
    this.adopted.back();
    this.adopted = { names: [], back: () => {} };
  }

  free(): void {
    this.giveBack();
    for (const adapter of this.adapters) adapter.release?.();
    for (const { tensor } of this.parameters.values()) tensor.dispose();
  }

  /** Takes the values of a saved adapter (a folder, or a file of llama.cpp's), and the matrices of the base model that it brings. */
  async fill(folder: string, model: BaseModel): Promise<void> {
    if (isGguf(folder)) return readGgufAdapter(folder, this.adapters[0], placesOf(model));
    await this.read(folder);
    this.adopted = await adoptMatrices(join(folder, FILE), PREFIX, this.beside(true), (name) =>
      refuseServed(model, `${folder} brings its own ${name}`),
    );
  }

  /** Takes the values of a checkpoint's adapter, but for those that are recalled from what the optimizer's file remembers. */
  restore(folder: string): Promise<void> {
    return this.read(folder, new Set(this.adapters.flatMap(({ recall, parameters }) => (recall ? [...parameters.keys()] : []))));
  }

  /** Takes the values of a saved adapter. Missing and unexpected tensors are errors. */
  async read(folder: string, recalled: ReadonlySet<string> = new Set()): Promise<void> {
    if (!existsSync(join(folder, FILE)) && existsSync(join(folder, 'adapter_model.bin')))
      throw new FileError(`${folder} has its weights in adapter_model.bin: ${PICKLE}`);
    const wanted = new Map([...this.parameters].filter(([name]) => !recalled.has(name)));
    await readParameters(join(folder, FILE), wanted, new Set([...this.beside(true).keys(), ...recalled]));
  }

  /** Writes it as llama.cpp's tools do. */
  saveGguf(path: string, model: BaseModel, outtype: string): Promise<void> {
    return writeGgufAdapter(path, this.config, this.adapters, placesOf(model), outtype);
  }

  /** The base model's matrices that are saved beside its own values; a table or head that is trained whole is among these. */
  private beside(plain: boolean): ReturnType<typeof matrixNames> {
    const names = matrixNames(PREFIX, this.adapters[0].modules, this.model, plain);
    for (const name of this.parameters.keys()) names.delete(name);
    return names;
  }

  /**
   * Writes adapter_config.json, adapter_model.safetensors and README.md. `embeddings`: the matrices of an adapted table or head too, and of
   * those that are not adapted where it is true, or 'auto' and they have been resized. What is tied to the table is not written twice.
   */
  async save(folder: string, base: string, embeddings: boolean | 'auto'): Promise<void> {
    const { config } = this;
    await mkdir(folder, { recursive: true });
    const kept = new Map(this.adapters.flatMap((adapter) => [...(adapter.kept?.() ?? [])]));
    const tensors: [string, Matrix][] = [...this.parameters].map(([name, p]) => [name, kept.get(name) ?? p]);
    const written = new Set<Matrix>();
    for (const [key, layer] of embeddings ? this.beside(embeddings === true || this.model.resized === true) : []) {
      const own = layer.owned('weight');
      if (key.endsWith('.base_layer.weight') || !written.has(own)) tensors.push([key, own]);
      written.add(own);
    }
    try {
      await writeTensors(join(folder, FILE), tensors);
    } finally {
      for (const p of kept.values()) p.dispose();
    }
    const turned = [...this.adapters[0].modules.values()].some((module) => module.turned('weight'));
    await writeText(join(folder, 'adapter_config.json'), config.toJson(base, turned));
    await writeText(
      join(folder, 'README.md'),
      card(
        {
          base_model: cardName(base),
          library_name: 'peft',
          pipeline_tag: (config as unknown as CommonOptions).task_type === 'SEQ_CLS' ? 'text-classification' : 'text-generation',
          tags: [config.peft_type.toLowerCase(), 'tunebook'],
        },
        `${config.summary} for ${base}, trained with tunebook.`,
      ),
    );
  }
}

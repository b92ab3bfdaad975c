import { inspect } from 'node:util';
import { nearest, OptionError } from '../core/errors';
import { show } from '../core/options';
import { DISPLAY, preHtml, type Shown } from '../core/shown';
import * as tf from '../engine/tf';
import { Weight } from '../engine/weights';
import { type Printing, printed } from './printed';

/** A tensor of a model in fp32, trained where `requires_grad` says so. An optimizer step replaces or changes `tensor`. */
export class Parameter {
  constructor(
    public tensor: tf.Tensor,
    public requires_grad = true,
    /** Files have it as [in, out], see `Module.turned`. */
    readonly turned = false,
  ) {}

  get shape(): number[] {
    return this.tensor.shape;
  }

  /** Takes a new value; what it held before is disposed. */
  assign(next: tf.Tensor): void {
    if (next === this.tensor) return;
    this.tensor.dispose();
    this.tensor = next;
  }

  dispose(): void {
    this.tensor.dispose();
  }
}

function missing(what: string, target: string, names: Iterable<string>): never {
  const known = [...names];
  const near = nearest(target, known);
  throw new OptionError(
    `There is no ${what} ${show(target)} here.${near ? ` Did you mean ${show(near)}?` : ` There are ${known.length}, such as ${show(known.at(-1))}.`}`,
  );
}

/** A matrix of a model: frozen and packed, or a parameter. */
export type Matrix = Weight | Parameter;

const isTensor = (field: unknown): field is Matrix => field instanceof Weight || field instanceof Parameter;
const sizeOf = (t: Matrix) => t.shape.reduce((a, b) => a * b, 1);

const families = new WeakMap<Module, string>();

/** A part of a model. Its children are its fields that are modules, under the names that Hugging Face gives them. */
export abstract class Module {
  /** Its own matrices that others stand in the place of, by their fields. */
  private own?: Map<string, Matrix>;

  /** Whether a PEFT method has put something beside its own matrices or in their place. */
  get adapted(): boolean {
    return Boolean(this.own?.size);
  }

  /**
   * Puts a matrix that somebody else owns (a PEFT method) in the place of its own in `field`; without one, puts its own back. What is
   * listed, counted, frozen, saved and freed stays its own. Returns what another had put there before, if one had.
   */
  swap(field: string, other?: Matrix): Matrix | undefined {
    this.own ??= new Map();
    const now = (this as unknown as Record<string, Matrix>)[field];
    const own = this.own.get(field);
    Object.assign(this, { [field]: other ?? own ?? now });
    if (other) this.own.set(field, own ?? now);
    else this.own.delete(field);
    return own && now;
  }

  /** Its own matrix in `field`, whatever stands in its place. */
  owned(field: string): Matrix {
    return this.own?.get(field) ?? (this as unknown as Record<string, Matrix>)[field];
  }

  /** Exchanges its own matrix in `field`; what stands in its place stays there. Returns the one before, which is not freed. */
  exchange(field: string, matrix: Matrix): Matrix {
    const before = this.owned(field);
    if (this.own?.has(field)) this.own.set(field, matrix);
    else Object.assign(this, { [field]: matrix });
    return before;
  }

  /** Makes what stands in `field` its own, and frees what was. */
  adopt(field: string): void {
    this.own?.get(field)?.dispose();
    this.own?.delete(field);
  }

  /** Whether files have one of its matrices turned: [in, out] where it is [out, in] (transformers' Conv1D). */
  turned(_field: string): boolean {
    return false;
  }

  /** What follows the family's name in transformers' name of its class: 'Attention' of LlamaAttention. */
  protected get role(): string | undefined {
    return undefined;
  }

  /** What the family of models that it is part of is called in the names of transformers' classes: 'Llama'. */
  protected get family(): string {
    return families.get(this) ?? '';
  }

  /** Makes this module and all below it a family's. */
  protected nameFamily(family: string): void {
    for (const [, module] of this.namedModules()) families.set(module, family);
  }

  /** What its class is called where it is printed: transformers' name where it has one. */
  get printedName(): string {
    const { family, role } = this;
    return family && role ? family + role : this.constructor.name;
  }

  /** What transformers prints as modules inside, and is none here: names and texts. */
  printedParts(): [string, string][] {
    return [];
  }

  /** What torch prints between a module's brackets: by default the shapes of its own matrices and vectors. */
  printedOptions(): string {
    return [...this.ownTensors()].map(([name, { shape }]) => `${name}=[${shape.join(', ')}]`).join(', ');
  }

  /** As torch prints modules. */
  [inspect.custom](): string {
    return this.print();
  }

  [DISPLAY](): Shown {
    const text = this.print();
    return { 'text/plain': text, 'text/html': preHtml(this.printedHead, text) };
  }

  /** A line above it where it is shown. */
  protected get printedHead(): string {
    return `${this.numParameters().toLocaleString('en-US')} parameters`;
  }

  /** The same, with what stands around modules. */
  print(around?: Printing['around']): string {
    return printed(this, { isModule: (item) => item instanceof Module, around });
  }

  /** Its own matrices and vectors by field. */
  *ownTensors(): Generator<[string, Matrix]> {
    for (const [name, field] of Object.entries(this)) if (isTensor(field)) yield [name, this.owned(name)];
  }

  /** This module and all below it, with their paths: ['model.layers.0.self_attn.q_proj', module]. */
  *namedModules(prefix = ''): Generator<[string, Module]> {
    yield [prefix, this];
    for (const [name, field] of Object.entries(this)) {
      const path = prefix ? `${prefix}.${name}` : name;
      if (field instanceof Module) yield* field.namedModules(path);
      else if (Array.isArray(field))
        for (const [i, item] of field.entries()) if (item instanceof Module) yield* item.namedModules(`${path}.${i}`);
    }
  }

  /** The matrices and vectors of this module and all below it, with their names, and whether files have them turned. */
  *namedTensors(): Generator<[name: string, tensor: Matrix, turned: boolean]> {
    for (const [path, module] of this.namedModules())
      for (const [name, tensor] of module.ownTensors()) yield [path ? `${path}.${name}` : name, tensor, module.turned(name)];
  }

  /** The module at a path below this one, as torch has it: `model.get_submodule('model.layers.0.self_attn.q_proj')`. */
  get_submodule(target: string): Module {
    const found = new Map(this.namedModules());
    return found.get(target) ?? missing('module', target, found.keys());
  }

  /**
   * The values of a tensor of this module or one below it, by its name: `model.get_parameter('model.layers.0.self_attn.q_proj.weight')`,
   * [out, in]. A packed one is unpacked to fp32. It is the caller's, to be disposed.
   */
  get_parameter(target: string): tf.Tensor {
    const found = new Map([...this.namedTensors()].map(([name, tensor]) => [name, tensor]));
    const tensor = found.get(target) ?? missing('tensor', target, found.keys());
    return tensor instanceof Parameter ? tensor.tensor.clone() : tensor.dequantize();
  }

  /**
   * Trains this module and all below it, or freezes them. A matrix that is to be trained is unpacked to fp32; one that is
   * packed in 4 or 8 bits cannot be, see `packedWeight`.
   */
  requires_grad_(wanted = true): this {
    for (const [, module] of this.namedModules()) for (const [field] of module.ownTensors()) module.requireGrad(field, wanted);
    return this;
  }

  /** The same for its own matrix or vector in `field`. */
  requireGrad(field: string, wanted: boolean): void {
    const tensor = this.owned(field);
    if (tensor instanceof Parameter) tensor.requires_grad = wanted;
    else if (wanted) {
      this.swap(field, new Parameter(tf.keep(tensor.dequantize()), true, this.turned(field)));
      this.adopt(field);
    }
  }

  /** The name of a matrix whose format loses what small updates add, if there is one. */
  packedWeight(): { name: string; format: string } | undefined {
    for (const [name, tensor] of this.namedTensors())
      if (tensor instanceof Weight && (tensor.format.block > 1 || tensor.format.rowHead)) return { name, format: tensor.format.name };
    return undefined;
  }

  /** Values in this module and all below it, shared matrices once. */
  numParameters(): number {
    let total = 0;
    for (const [, tensor] of this.namedTensors()) total += sizeOf(tensor);
    return total;
  }

  /** Bytes of the weights of this module and all below it. */
  weightBytes(): number {
    let total = 0;
    for (const [, tensor] of this.namedTensors()) total += tensor instanceof Weight ? tensor.byteSize : 4 * sizeOf(tensor);
    return total;
  }

  /** Frees what this module itself holds beside its named tensors. */
  protected release(): void {}

  /** Frees this module and all below it. */
  dispose(): void {
    for (const [, tensor] of this.namedTensors()) tensor.dispose();
    for (const [, module] of this.namedModules()) module.release();
  }
}

import type * as tf from '../engine/tf';
import type { Weight } from '../engine/weights';
import type { Writable } from '../formats/safetensors';
import type { Matrix, Module, Parameter } from '../nn';

/** What PEFT writes before the names of a model's modules. */
export const PREFIX = 'base_model.model.';

/** What a method has put into a model. */
export interface Adapter {
  /** Its tensors, by the names that PEFT saves them under: trained, but for those without requires_grad. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  /** Those inside one module of the base model. */
  parametersIn(module: Module): Parameter[];
  /** On: the model answers with it. */
  attach(): void;
  /** Off: the model answers as it would without. */
  detach(): void;
  /** The modules of the base model that it changes, by path. */
  readonly modules: ReadonlyMap<string, Module>;
  /** Those at which no other adapter of this sort can stand at the same time, as each puts something in the place of the module's own tensors. */
  readonly replaced: ReadonlyMap<string, Module>;
  /** Hands over, packed, what it has put there in the place of the model's own. */
  keep(into: Keeping): Promise<void>;
  /** Frees what it holds beside its trained tensors. */
  release?(): void;
  /** What it adds to a step's loss: [] */
  penalty?(): tf.Scalar;
  /** Told after each step of the optimizer, counted from 0, with its gradients by the names of `parameters`, of which it took `clip` times. */
  stepped?(step: number, gradients: ReadonlyMap<string, tf.Tensor>, clip: number): void;
  /** Those of its tensors that are saved otherwise than they are; the caller frees them. */
  kept?(): Map<string, Parameter>;
  /** What a checkpoint needs beside what is saved, so that a run can go on from it; `recall` takes it back, and all of `parameters` with it. */
  memory?(): Writable[];
  recall?(read: (name: string, shape: number[]) => Promise<tf.Tensor>): Promise<void>;
  /** What PEFT prints of it beside the model, where it changes no module there: a learned prompt. */
  printed?(): string;
  /** Why it cannot be merged into the model's matrices, where it cannot. */
  readonly unmergeable?: string;
}

/** Packs a matrix, which it disposes. */
export type Pack = (matrix: tf.Tensor2D) => Promise<Weight>;

/** Where what adapters have put in the place of modules' own tensors goes when they are merged for good. */
export interface Keeping {
  pack: Pack;
  /** Puts a matrix into a module's field for now: it becomes the module's own when all that is merged is there, and is freed where something fails. */
  put(module: Module, field: string, matrix: Matrix): void;
}

/** What stands at one module of the model. */
export interface Term {
  /** Its trained tensors, by what stands behind the module's path in a saved adapter: { 'lora_A.weight': parameter }. */
  readonly parameters: Record<string, Parameter>;
  attach(): void;
  detach(): void;
  /** No other such term can stand at its module at the same time, because of what it puts in the place of the module's tensors, say. */
  readonly alone?: boolean;
  /** Frees what it holds beside its trained tensors. */
  release?(): void;
  /** Where it stands in the place of the module's own tensors: hands them over, packed. */
  keep?(into: Keeping): Promise<void>;
  /** What PEFT prints in the place of its module, given what that prints, and all terms there with their adapters' names. */
  printed?(base: string, terms: readonly (readonly [name: string, term: Term])[]): string;
}

interface Shared {
  prefix?: string;
  others?: Record<string, Parameter>;
  held?: Parameter[];
}

/** An adapter of one term a module, as most methods are. */
export class ModuleAdapter<T extends Term = Term> implements Adapter {
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly modules: ReadonlyMap<string, Module>;
  readonly replaced: ReadonlyMap<string, Module>;

  readonly unmergeable?: string;

  private readonly held: Parameter[];

  /**
   * `terms`: by the paths of the modules. `prefix`: what is saved before these. `others`: what all terms share and is saved under names of its own. `held`: what they
   * share and is not saved.
   */
  constructor(
    readonly terms: ReadonlyMap<string, { module: Module; term: T }>,
    { prefix = PREFIX, unmergeable, others = {}, held = [] }: Partial<Pick<ModuleAdapter, 'unmergeable'>> & Shared = {},
  ) {
    this.held = held;
    this.unmergeable = unmergeable;
    this.modules = new Map([...terms].map(([path, { module }]) => [path, module]));
    this.replaced = new Map([...this.modules].filter(([path]) => terms.get(path)?.term.keep || terms.get(path)?.term.alone));
    const own = [...terms].flatMap(([path, { term }]) =>
      Object.entries(term.parameters).map(([name, p]) => [`${prefix}${path}.${name}`, p] as const),
    );
    this.parameters = new Map([...own, ...Object.entries(others)]);
  }

  parametersIn(module: Module): Parameter[] {
    const inside = new Set([...module.namedModules()].map(([, m]) => m));
    return [...this.terms.values()].flatMap((at) => (inside.has(at.module) ? Object.values(at.term.parameters) : []));
  }

  attach(): void {
    for (const { term } of this.terms.values()) term.attach();
  }

  detach(): void {
    for (const { term } of this.terms.values()) term.detach();
  }

  release(): void {
    for (const { term } of this.terms.values()) term.release?.();
    for (const parameter of this.held) parameter.dispose();
  }

  async keep(into: Keeping): Promise<void> {
    for (const { term } of this.terms.values()) await term.keep?.(into);
  }
}

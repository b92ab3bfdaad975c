import { OptionError } from '../core/errors';
import { show } from '../core/options';
import type { Module, Parameter } from '../nn';
import type { Part } from './part';

/** A model's adapters by name, and which of them are active: those stand in the model, unless all are off. */
export class Parts {
  private readonly all = new Map<string, Part>();
  private names: string[] = [];
  /** How often they were turned off and not on again. */
  private off = 0;

  get active(): string[] {
    return [...this.names];
  }

  get isOff(): boolean {
    return this.off > 0;
  }

  has(name: string): boolean {
    return this.all.has(name);
  }

  /** The adapter of this name; an error says which there are. */
  get(name: string): Part {
    const part = this.all.get(name);
    if (!part && !this.all.size)
      throw new OptionError(`The adapter ${show(name)} was taken off its model, by unload() or by another one that took its place.`);
    if (!part)
      throw new OptionError(`There is no adapter called ${show(name)}; there are ${[...this.all.keys()].map(show).join(', ') || 'none'}.`);
    return part;
  }

  add(name: string, part: Part): void {
    this.all.set(name, part);
  }

  /** Calls one by another name; it is active under neither. */
  rename(name: string, to: string): void {
    this.all.set(to, this.get(name));
    this.all.delete(name);
  }

  /** Takes one off and frees it. */
  delete(name: string): void {
    const part = this.get(name);
    if (this.names.includes(name) && !this.off) part.detach();
    this.names = this.names.filter((other) => other !== name);
    part.free();
    this.all.delete(name);
  }

  /** Makes these, and no others, active. */
  activate(names: string[]): void {
    if (!this.off) this.detach();
    this.names = [...new Set(names)];
    if (!this.off) this.attach();
  }

  /** Runs f with these in the place of the active ones; nothing of it may take time. */
  wearing<T>(names: readonly string[], f: () => T): T {
    const before = this.names;
    this.activate([...names]);
    try {
      return f();
    } finally {
      this.activate(before);
    }
  }

  turnOff(): void {
    if (this.off++ === 0) this.detach();
  }

  turnOn(): void {
    if (--this.off === 0) this.attach();
  }

  private attach(): void {
    for (const name of this.names) this.get(name).attach();
  }

  private detach(): void {
    for (const name of this.names.toReversed()) this.get(name).detach();
  }

  /** Several can stand beside a module's own tensors, but only one in their place. */
  refuseClash(names: string[], what = 'set_adapter'): void {
    const taken = new Map<Module, string>();
    for (const name of new Set(names))
      for (const [path, module] of this.get(name).replaced) {
        const other = taken.get(module);
        if (other)
          throw new OptionError(
            `${what}: ${show(other)} and ${show(name)} both put their own ${path} in the place of the model's. Choose one of the two.`,
          );
        taken.set(module, name);
      }
  }

  /** Tensors of the active ones by the names that PEFT saves them under; of several behind the adapter's name. Frozen ones only where `all`. */
  namedParameters(all = false): Map<string, Parameter> {
    const named = (name: string): [string, Parameter][] => [...this.get(name).parameters].filter(([, p]) => all || p.requires_grad);
    if (this.names.length === 1) return new Map(named(this.names[0]));
    return new Map(this.names.flatMap((name) => named(name).map(([key, p]) => [`${name}/${key}`, p] as const)));
  }

  /** Those of the active ones. */
  get attached(): Part[] {
    return this.names.map((name) => this.get(name));
  }

  *[Symbol.iterator](): Generator<[name: string, part: Part]> {
    yield* this.all;
  }
}

/** How many values these have. */
export const countOf = (parts: Iterable<Part>): number => [...parts].reduce((n, { parameters }) => n + sizeOf(parameters), 0);

/** How many values tensors have. */
export const sizeOf = (parameters: ReadonlyMap<string, Parameter>): number =>
  [...parameters.values()].reduce((sum, { tensor }) => sum + tensor.size, 0);

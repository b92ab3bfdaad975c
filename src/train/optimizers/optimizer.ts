import { mkdirSync } from 'node:fs';
import { OptionError } from '../../core/errors';
import { warnOnce } from '../../core/events';
import { readOptions, show } from '../../core/options';
import { isNative, take } from '../../engine/backend';
import { PackedMoment } from '../../engine/ops/adamw';
import { copyInto, pagedFloats } from '../../engine/ops/memory';
import * as tf from '../../engine/tf';
import type { Writable } from '../../formats/safetensors';
import type { Parameter } from '../../nn';
import type { TrainingOptions } from '../config';
import type { GroupOf } from '../groups';

/** What is remembered of a parameter, under PyTorch's name for it. */
export interface Slot {
  name: string;
  shape: number[];
  /** Whether its values may be negative. */
  signed: boolean;
}

/** Tensors of fewer values keep fp32, in memory: bitsandbytes' limit for 8 bits, and four pages. */
const SMALLEST = 4096;

/** How what is remembered is kept. */
export interface Kept {
  /** In 8 bits. */
  eightBit: boolean;
  /** In pages of a file, which the system may write out. */
  paged?: boolean;
}

/** One remembered tensor: fp32 or 8 bits, in memory or (in `folder`) paged; other than fp32 in memory on the native engine alone. */
export class State {
  private tensor?: tf.Tensor;
  readonly packed?: PackedMoment;
  /** Its fp32 values stay where they are. */
  private readonly inPlace: boolean = false;

  /** It begins with zeros. */
  constructor(
    readonly shape: number[],
    signed: boolean,
    { eightBit, paged }: Kept,
    folder: string,
  ) {
    const size = shape.reduce((a, b) => a * b, 1);
    const large = isNative() && size >= SMALLEST;
    if (eightBit && large) this.packed = new PackedMoment(shape, signed, paged ? folder : undefined);
    else if (paged && large) {
      this.tensor = pagedFloats(size, folder);
      this.inPlace = true;
    } else this.tensor = tf.keep(tf.zeros(shape));
  }

  /** Its fp32 tensor, where it is not packed; a paged one is flat. */
  get full(): tf.Tensor {
    return this.tensor as tf.Tensor;
  }

  /** Its values as a tensor of the current scope. */
  read(): tf.Tensor {
    return this.packed ? tf.tensor(this.packed.read(), this.shape) : tf.reshape(this.full, this.shape);
  }

  /** Takes new values, and the tensor itself where it is fp32. */
  write(next: tf.Tensor): void {
    if (this.packed) this.packed.write(next);
    else if (this.inPlace && next !== this.tensor) {
      copyInto(this.full, next);
      next.dispose();
    } else if (next !== this.tensor) {
      this.tensor?.dispose();
      this.tensor = tf.keep(next);
    }
  }

  async data(): Promise<Float32Array> {
    return this.packed ? this.packed.read() : ((await this.full.data()) as Float32Array);
  }

  dispose(): void {
    this.packed?.dispose();
    this.tensor?.dispose();
  }
}

/** A parameter with its gradient and what is remembered of it, in the order of the optimizer's slots. */
export interface Entry {
  parameter: Parameter;
  gradient: tf.Tensor;
  states: State[];
}

/** What an optimizer is told of a step. */
export interface Step {
  /** The schedule's rate. */
  lr: number;
  /** Steps taken, this one included. */
  step: number;
  /** What gradients are multiplied by first (clipping). */
  factor: number;
  weight_decay: number;
}

export type OptimizerOptions = Pick<
  TrainingOptions,
  'optim' | 'output_dir' | 'optim_args' | 'adam_beta1' | 'adam_beta2' | 'adam_epsilon' | 'weight_decay'
>;

/** The values of an optimizer's own options. */
export type OptimArgs = Record<string, number | boolean>;

/** A way of stepping: what a file of this folder says, and the table in index.ts knows. */
export interface OptimizerKind {
  /** Values of `optim` that mean it, and how what it remembers is kept then. */
  names: Record<string, Kept>;
  /** What `optim_args` may have, with its defaults. */
  args?: OptimArgs;
  /** What it remembers of a parameter of this shape. */
  slots(shape: number[], args: OptimArgs): Slot[];
  /** Changes parameters and states, in place or by new tensors that they take. */
  apply(entries: Entry[], step: Step, options: OptimizerOptions, args: OptimArgs): void;
}

/** An optimizer's own options as `optim_args` gives them: 'momentum=0.9, nesterov=true', as transformers has it, or an object. */
export function optimArgs({ names, args = {} }: OptimizerKind, given: unknown): OptimArgs {
  const owner = `optim_args of '${Object.keys(names)[0]}'`;
  const pairs = (text: string) => text.split(',').flatMap((part) => (part.trim() ? [part.split('=').map((half) => half.trim())] : []));
  const object = typeof given === 'string' ? Object.fromEntries(pairs(given)) : (given ?? {});
  if (given !== null && typeof given !== 'string' && (typeof given !== 'object' || Array.isArray(given)))
    throw new OptionError(`${owner} must be a text like 'momentum=0.9' or an object, but is ${show(given)}.`);
  if (!Object.keys(args).length && Object.keys(object).length)
    throw new OptionError(`${owner} = ${show(given)}: this optimizer has no options of its own. Leave it out.`);
  const read = readOptions<Record<string, unknown>>(owner, object, args);
  return Object.fromEntries(
    Object.entries(read).map(([name, value]) => {
      const made =
        typeof args[name] === 'boolean'
          ? { true: true, false: false }[String(value).toLowerCase()]
          : Number(value === '' ? Number.NaN : value);
      if (made === undefined || Number.isNaN(made))
        throw new OptionError(`${owner}: ${name} must be a ${typeof args[name]}, but is ${show(value)}. ${show(args[name])} is usual.`);
      return [name, made];
    }),
  );
}

/** What is remembered of one parameter, and the step before the first that it took: steps count from there, as in PyTorch. */
interface Memory {
  slots: Slot[];
  states: State[];
  from: number;
}

/** The name under which a checkpoint says that step. */
const FROM = 'first_step';

/**
 * One optimizer at work on the parameters that are trained now; a checkpoint holds what it remembers in fp32. `trained` is asked at each
 * step: a parameter that had no gradient yet begins then, one that has none stays as it is.
 */
export class Optimizer {
  private readonly args: OptimArgs;
  private readonly kept: Kept;
  private readonly memory = new Map<string, Memory>();
  /** Steps taken. */
  step = 0;

  constructor(
    private readonly kind: OptimizerKind,
    private readonly trained: () => ReadonlyMap<string, Parameter>,
    private readonly options: OptimizerOptions,
    private readonly groupOf: GroupOf,
  ) {
    this.kept = kind.names[options.optim];
    if (this.kept.paged && !isNative())
      warnOnce(
        `optim = ${show(options.optim)}: only the native engine has paged memory; what the optimizer remembers stays in the process's.`,
      );
    if (this.kept.paged) mkdirSync(options.output_dir, { recursive: true });
    this.args = optimArgs(kind, options.optim_args);
  }

  private memoryOf(name: string, parameter: Parameter, from = this.step): Memory {
    const known = this.memory.get(name);
    if (known) return known;
    // It will be changed in place, and may share its memory with the array it was made from.
    parameter.assign(tf.keep(tf.mul(parameter.tensor, 1)));
    const slots = this.kind.slots(parameter.shape, this.args);
    const states = slots.map(({ shape, signed }) => new State(shape, signed, this.kept, this.options.output_dir));
    const memory = { slots, states, from };
    this.memory.set(name, memory);
    return memory;
  }

  /** Updates every parameter by its gradient times `factor`, at its group's share of the rate. */
  apply(gradients: ReadonlyMap<string, tf.Tensor>, lr: number, factor: number): void {
    const groups = new Map<string, { step: Step; entries: Entry[] }>();
    for (const [name, parameter] of this.trained()) {
      const gradient = gradients.get(name);
      if (!gradient) continue;
      const { states, from } = this.memoryOf(name, parameter);
      const { rate, weight_decay } = this.groupOf(name);
      const step = this.step + 1 - from;
      const key = [rate, weight_decay, step].join();
      const group = groups.get(key) ?? { step: { lr: lr * rate, factor, step, weight_decay }, entries: [] };
      group.entries.push({ parameter, gradient, states });
      groups.set(key, group);
    }
    this.step++;
    for (const { entries, step } of groups.values()) this.kind.apply(entries, step, this.options, this.args);
  }

  /** What it remembers, by name: '<parameter>.<slot>', and where steps do not count from the first '<parameter>.first_step' [1]. */
  *state(): Generator<Writable> {
    for (const [name, { slots, states, from }] of this.memory) {
      for (const [i, state] of states.entries()) yield { name: `${name}.${slots[i].name}`, shape: state.shape, data: () => state.data() };
      if (from) yield { name: `${name}.${FROM}`, shape: [1], data: Float32Array.of(from) };
    }
  }

  /**
   * Goes on from what was remembered after `step` steps, `saved` by these names (others may be among them). A parameter that had not been
   * trained by then begins later.
   */
  async restore(step: number, saved: Iterable<string>, read: (name: string, shape: number[]) => Promise<tf.Tensor>): Promise<void> {
    this.step = step;
    const names = new Set(saved);
    const known = (name: string, slots: Slot[]) => [...slots, { name: FROM }].some((slot) => names.has(`${name}.${slot.name}`));
    const all = [...this.trained()].map(([name, parameter]) => [name, parameter, this.kind.slots(parameter.shape, this.args)] as const);
    const some = all.some(([name, , slots]) => known(name, slots));
    for (const [name, parameter, slots] of all) {
      if (slots.length && some && !known(name, slots)) continue;
      const first = `${name}.${FROM}`;
      const from = names.has(first) ? (await take(await read(first, [1])))[0] : 0;
      const { states } = this.memoryOf(name, parameter, from);
      for (const [i, state] of states.entries()) {
        const slot = `${name}.${slots[i].name}`;
        state.write(await read(slot, state.shape));
      }
    }
  }

  dispose(): void {
    for (const { states } of this.memory.values()) for (const state of states) state.dispose();
    this.memory.clear();
  }
}

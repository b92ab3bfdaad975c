import { OptionError } from '../core/errors';
import type { Random } from '../core/random';
import * as tf from '../engine/tf';
import { Linear, Parameter } from '../nn';
import { ModuleAdapter } from './adapter';
import type { Field } from './fields';
import type { LinearTerm } from './linear_term';
import { type Applied, type BaseModel, type CommonOptions, PeftConfig } from './method';
import { checkUsed } from './ranks';
import { checkTargets, NO_TARGETS, type Targets, targetLayers, type Usual } from './targets';

/** What PEFT adapts of Llama's kind and of GPT-2 by most methods. */
export const QUERIES_AND_VALUES: Usual = { default: ['q_proj', 'v_proj'], gpt2: ['c_attn'] };

/** Fields of most methods' configs that do nothing here. */
export const BIAS: Record<string, Field> = { bias: { unused: 'none', would: "train the base model's biases too" } };
/** Of layers that keep their matrix transposed (GPT-2's). */
export const TURNED: Record<string, Field> = { fan_in_fan_out: { unused: false } };

export type LinearOptions = CommonOptions & Partial<Targets>;

/** Where a term comes to stand. */
export interface Place extends Applied {
  layer: Linear;
  path: string;
  /** Tells its dropout masks from those of others. */
  serial: number;
}

/** A method that puts one term beside each linear layer that its options name. */
export abstract class LinearConfig<O extends LinearOptions> extends PeftConfig<O> {
  protected override check(saved: boolean): void {
    checkTargets(this.targets, (name, why) => this.refuse(name as keyof O & string, why));
    this.checkOwn(saved);
  }

  private get targets(): Targets {
    return { ...NO_TARGETS, ...(this as unknown as Partial<Targets>) };
  }

  /** Throws where an option of the method's own is wrong. */
  protected abstract checkOwn(saved: boolean): void;

  protected layers(model: BaseModel, saved: boolean): Map<string, Linear> {
    const { owner } = this.spec;
    const layers = targetLayers(model, this.targets, { owner, usual: this.usual, saved });
    for (const [path, layer] of layers)
      if (!(layer instanceof Linear) || path === 'lm_head')
        throw new OptionError(
          `${owner}: target module ${path} cannot be adapted by this method: it is the embedding table or the output head. Leave it out.`,
        );
    checkUsed(owner, this.patterns, [...layers.keys()], saved);
    return layers as Map<string, Linear>;
  }

  /** Its options that say other values for some modules, by patterns. */
  protected get patterns(): Record<string, Record<string, number>> {
    return {};
  }

  /** What is adapted where target_modules says nothing. */
  protected get usual(): Usual {
    return QUERIES_AND_VALUES;
  }

  /** An adapter of a term at each layer. */
  protected each(model: BaseModel, how: Applied, make: (place: Place) => LinearTerm): ModuleAdapter {
    return new ModuleAdapter(this.terms(this.layers(model, how.saved), how, make));
  }

  protected terms(layers: Map<string, Linear>, how: Applied, make: (place: Place) => LinearTerm) {
    const terms = new Map<string, { module: Linear; term: LinearTerm }>();
    try {
      for (const [path, layer] of layers)
        terms.set(path, { module: layer, term: make({ ...how, layer, path, serial: how.terms + terms.size }) });
      return terms;
    } catch (error) {
      for (const { term } of terms.values()) term.free();
      throw error;
    }
  }
}

/** A trained tensor of this shape, drawn value by value. */
export const drawn = (shape: number[], next: () => number): Parameter =>
  new Parameter(tf.keep(tf.tensor(Float32Array.from({ length: shape.reduce((n, size) => n * size, 1) }, next), shape)));

/** torch's kaiming_uniform_ with a = sqrt(5): uniform within 1 / sqrt(columns). */
export const kaiming = (shape: number[], random: Random): Parameter => {
  const bound = 1 / Math.sqrt(shape.slice(1).reduce((n, size) => n * size, 1));
  return drawn(shape, () => (2 * random.uniform() - 1) * bound);
};

export const zeros = (shape: number[]): Parameter => new Parameter(tf.keep(tf.zeros(shape)));
export const ones = (shape: number[]): Parameter => new Parameter(tf.keep(tf.ones(shape)));

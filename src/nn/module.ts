import type * as tf from '../engine/tf';

/** A trained tensor. `tensor` is replaced at every optimizer step; what it held before is disposed. */
export class Parameter {
  constructor(public tensor: tf.Tensor) {}

  assign(next: tf.Tensor): void {
    if (next === this.tensor) return;
    this.tensor.dispose();
    this.tensor = next;
  }
}

/** A part of a model. Its children are its fields that are modules, under the names that Hugging Face gives them. */
export abstract class Module {
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

  /** Values this module itself holds (not its children's), trained or not. */
  ownSize(): number {
    return 0;
  }

  /** Bytes this module itself holds in native memory or tensors. */
  ownBytes(): number {
    return 0;
  }

  /** Values in this module and all below it, shared matrices once. */
  numParameters(): number {
    let total = 0;
    for (const [, module] of this.namedModules()) total += module.ownSize();
    return total;
  }

  /** Bytes of the weights of this module and all below it. */
  weightBytes(): number {
    let total = 0;
    for (const [, module] of this.namedModules()) total += module.ownBytes();
    return total;
  }

  /** Frees what this module itself holds. */
  protected release(): void {}

  /** Frees this module and all below it. */
  dispose(): void {
    for (const [, module] of this.namedModules()) module.release();
  }
}

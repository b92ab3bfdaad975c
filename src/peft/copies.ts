import * as tf from '../engine/tf';
import { type Matrix, type Module, Parameter } from '../nn';
import { bracketed } from '../nn/printed';
import type { Keeping, Term } from './adapter';
import { moduleDict } from './printed';

/** Copies in fp32 of a module's own matrices and vectors, which are trained in their place. */
export class Copies implements Term {
  readonly parameters: Record<string, Parameter>;
  private readonly copies: [field: string, copy: Parameter][];

  /** `prefix`: what is saved before the names of the module's tensors. `words`: what PEFT calls its class, the module and the copies. */
  constructor(
    private readonly module: Module,
    prefix = '',
    private readonly words: readonly [string, string, string] = ['ModulesToSaveWrapper', 'original_module', 'modules_to_save'],
  ) {
    const copyOf = (own: Matrix) => tf.keep(own instanceof Parameter ? tf.clone(own.tensor) : own.dequantize());
    this.copies = tensorsOf(module).map(([field, own]) => [field, new Parameter(copyOf(own), true, module.turned(field))]);
    this.parameters = Object.fromEntries(this.copies.map(([field, copy]) => [prefix + field, copy]));
  }

  attach(): void {
    for (const [field, copy] of this.copies) this.module.swap(field, copy);
  }

  detach(): void {
    for (const [field] of this.copies) this.module.swap(field);
  }

  printed(base: string, terms: readonly (readonly [string, Term])[]): string {
    const [name, original, copies] = this.words;
    const own = terms.flatMap(([adapter, term]) => (term instanceof Copies ? [[adapter, base] as const] : []));
    return bracketed(name, [`(${original}): ${base}`, `(${copies}): ${moduleDict(own)}`]);
  }

  async keep({ pack, put }: Keeping): Promise<void> {
    for (const [field, copy] of this.copies) {
      if ((this.module as unknown as Record<string, Matrix>)[field] !== copy) continue; // merged with what stands beside it
      const value = tf.clone(copy.tensor);
      put(this.module, field, value.rank === 2 ? await pack(value as tf.Tensor2D) : new Parameter(tf.keep(value), false));
    }
  }
}

/** A module's matrices and vectors by field; those of a head that shares its matrix too. */
export function tensorsOf(module: Module): [string, Matrix][] {
  const own = [...module.ownTensors()];
  if (own.length) return own;
  return 'weight' in module ? [['weight', module.owned('weight')]] : [];
}

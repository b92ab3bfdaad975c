import { OptionError } from '../core/errors';
import { show } from '../core/options';
import * as tf from '../engine/tf';
import type { Weight } from '../engine/weights';
import { type Matrix, type Module, Parameter } from '../nn';
import { type BaseModel, ModuleAdapter, type Term } from './method';

/** Copies in fp32 of a module's own matrices and vectors, which are trained in their place. */
class Copies implements Term {
  readonly parameters: Record<string, Parameter> = {};

  constructor(private readonly module: Module) {
    for (const [field, own] of tensorsOf(module))
      this.parameters[field] = new Parameter(own instanceof Parameter ? tf.keep(tf.clone(own.tensor)) : tf.keep(own.dequantize()));
  }

  attach(): void {
    for (const [field, copy] of Object.entries(this.parameters)) this.module.swap(field, copy);
  }

  detach(): void {
    for (const field of Object.keys(this.parameters)) this.module.swap(field);
  }

  /** Makes them the module's own, frozen: matrices packed by `pack`. */
  async keep(pack: (matrix: tf.Tensor2D) => Promise<Weight>): Promise<void> {
    for (const [field, { tensor }] of Object.entries(this.parameters)) {
      const copy = tf.clone(tensor);
      this.module.swap(field, copy.rank === 2 ? await pack(copy as tf.Tensor2D) : new Parameter(tf.keep(copy), false));
      this.module.adopt(field);
    }
  }
}

/** Its matrices and vectors by field; those of a head that shares its matrix too. */
function tensorsOf(module: Module): [string, Matrix][] {
  const own = [...module.ownTensors()];
  if (own.length) return own;
  const { weight } = module as { weight?: Matrix };
  return weight ? [['weight', weight]] : [];
}

/**
 * PEFT's `modules_to_save`: whole modules (a norm, the output head, the embedding table) that are trained beside an adapter of any
 * method, as copies, so that the base model stays as it is. They are saved with the adapter under the modules' own names.
 */
export class SavedModules extends ModuleAdapter<Copies> {
  constructor(model: BaseModel, names: string[], adapted: ReadonlySet<Module>) {
    super(copiesOf(model, names, adapted));
  }

  /** Makes them the model's own for good. */
  async keep(pack: (matrix: tf.Tensor2D) => Promise<Weight>): Promise<void> {
    for (const { term } of this.terms.values()) await term.keep(pack);
  }
}

function copiesOf(model: BaseModel, names: string[], adapted: ReadonlySet<Module>): Map<string, { module: Module; term: Copies }> {
  const terms = new Map<string, { module: Module; term: Copies }>();
  const able = [...model.namedModules()].filter(([path, module]) => path && tensorsOf(module).length);
  for (const name of names) {
    const found = able.filter(([path]) => path.endsWith(name)); // as in PEFT: 'norm' means input_layernorm too
    if (!found.length)
      throw new OptionError(
        `modules_to_save has ${show(name)}, which is no module with weights of its own. There are ${[...new Set(able.map(([path]) => path.replace(/^.*\./, '')))].join(', ')}.`,
      );
    for (const [path, module] of found) {
      if (adapted.has(module))
        throw new OptionError(`modules_to_save has ${show(name)}, but ${path} is adapted too. Leave it out of one of the two.`);
      if (!terms.has(path)) terms.set(path, { module, term: new Copies(module) });
    }
  }
  return terms;
}

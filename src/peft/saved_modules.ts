import { OptionError } from '../core/errors';
import { show } from '../core/options';
import type { Module } from '../nn';
import { ModuleAdapter } from './adapter';
import { Copies, tensorsOf } from './copies';
import { type BaseModel, TASKS } from './method';

/**
 * PEFT's `modules_to_save`: whole modules (a norm, the output head, the embedding table) that are trained beside an adapter of any
 * method, as copies, so that the base model stays as it is. They are saved with the adapter under the modules' own names.
 */
export class SavedModules extends ModuleAdapter<Copies> {
  constructor(model: BaseModel, names: string[], adapted: ReadonlySet<Module>, prefix: string) {
    super(copiesOf(model, names, adapted), { prefix });
  }
}

function copiesOf(model: BaseModel, names: string[], adapted: ReadonlySet<Module>): Map<string, { module: Module; term: Copies }> {
  const terms = new Map<string, { module: Module; term: Copies }>();
  const able = [...model.namedModules()].filter(([path, module]) => path && tensorsOf(module).length);
  for (const name of names) {
    const found = able.filter(([path]) => path.endsWith(name)); // as in PEFT: 'norm' means input_layernorm too
    if (!found.length && Object.values(TASKS).flat().includes(name)) continue; // another sort of model calls its head so
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

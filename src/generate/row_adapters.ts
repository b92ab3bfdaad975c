import { OptionError } from '../core/errors';
import { show } from '../core/options';
import type { DecoderPlan } from '../engine/ops/decode';
import { worn } from '../peft/hold';

/** As PEFT calls the base model among `adapter_names`. */
export const BASE_ADAPTER = '__base__';

/** Adapters of one model that rows of a step may each go through, without another copy of the model. */
export interface RowAdapters {
  /** The same plan with the pairs of all of them, each adapter's in a slot of its own; a NotPlanned error where one is more than pairs. */
  plan(make: () => DecoderPlan): DecoderPlan;
  /** The slots of one, as bits. */
  slots(adapter?: string): number;
  /** Runs f with this one in the place of the active ones. */
  wearing<T>(adapter: string | undefined, f: () => T): T;
}

/** `names`: those that are asked for; what the model wears has them all. */
export function rowAdapters(model: object, names: readonly string[]): RowAdapters {
  const wanted = [...new Set(names)].filter((name) => name !== BASE_ADAPTER);
  const wearer = worn.get(model);
  if (!wearer) {
    if (!wanted.length) return { plan: (make) => make(), slots: () => 0, wearing: (_, f) => f() };
    throw new OptionError(
      `adapter_names has ${show(wanted[0])}, but there is no adapter on this model. Load it: PeftModel.from_pretrained.`,
    );
  }
  const active = wearer.active_adapters;
  const all = [...new Set([...active, ...wanted])];
  const bit = (name: string) => {
    const at = all.indexOf(name);
    if (at < 0) throw new OptionError(`This decoding began without the adapter ${show(name)}; it has ${all.map(show).join(', ')}.`);
    return 1 << at;
  };
  const of = (adapter?: string) => (adapter === undefined ? active : adapter === BASE_ADAPTER ? [] : [adapter]);
  return {
    plan: (make) => wearer.together(all, make),
    slots: (adapter) => of(adapter).reduce((bits, name) => bits | bit(name), 0),
    wearing: (adapter, f) => wearer.wearing(of(adapter), f),
  };
}

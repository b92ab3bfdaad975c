import { OptionError } from '../core/errors';
import type { CausalLM } from '../models/causal_lm';
import { PeftModel } from '../peft/model';

/** Asks a model. The one that the adapter of `after` stands beside is asked with the adapter off: that is what its owner means by it. */
export const asked = <T>(model: unknown, after: unknown, ask: () => Promise<T>): Promise<T> =>
  after instanceof PeftModel && model === after.base_model ? after.disable_adapter(ask) : ask();

/** What `before` is where it is left out: the model of the adapter, without it. `kinds`: what else could be given. */
export function baseBefore(owner: string, after: unknown, kinds: string): CausalLM {
  if (after instanceof PeftModel) return after.base_model as CausalLM;
  throw new OptionError(`${owner} needs before: a model, or ${kinds}. It may be left out where after is a model with an adapter.`);
}

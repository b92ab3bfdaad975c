import { OptionError } from '../core/errors';
import type { DecoderPlan } from '../engine/ops/decode';

/** Base models that a training run is on, be it paused. */
const held = new WeakSet<object>();

/** Keeps a model's adapters where they are until what is returned is called. */
export function hold(model: object): () => void {
  refuseHeld(model, 'train');
  held.add(model);
  return () => held.delete(model);
}

/** Throws where a run is on: `what` would pull away what it trains. */
export function refuseHeld(model: object, what: string): void {
  if (held.has(model))
    throw new OptionError(
      `${what}: a training run is on with this model (running or paused). End it first: interrupt its cell, press 'Stop and save', or await trainer.stop().`,
    );
}

/** Base models that answer for others now, and by how many servers. */
const served = new WeakMap<object, number>();

/** Keeps a model's own matrices as they are until what is returned is called. */
export function serving(model: object): () => void {
  for (const name of worn.get(model)?.brought ?? []) throw new OptionError(TIED(`The adapter on the model has brought its own ${name}`));
  served.set(model, (served.get(model) ?? 0) + 1);
  return () => void served.set(model, (served.get(model) as number) - 1);
}

const TIED = (what: string) =>
  `${what}, in the place of the model's, which the server answers with too. Merge it first (npx tunebook merge, or merge_and_unload and save_pretrained), and serve the merged model.`;

/** Throws where a server answers with a model: `what` would change it for all. */
export function refuseServed(model: object, what: string): void {
  if (served.get(model)) throw new OptionError(TIED(what));
}

/** An adapter that stands beside a base model, and can be taken off for now: `back` undoes that, `free` ends it for good. */
interface Wearer {
  stepAside(): { back(): void; free(because: string): void };
  readonly active_adapters: string[];
  /** The base model's matrices in whose place its adapters have put their own. */
  readonly brought: string[];
  /** Runs f with these adapters in the place of the active ones. */
  wearing<T>(names: readonly string[], f: () => T): T;
  /** What `make` plans with all of these, each one's pairs in the slot of its place among them. */
  together(names: readonly string[], make: () => DecoderPlan): DecoderPlan;
}

/** What each base model wears. */
export const worn = new WeakMap<object, Wearer>();

/** Takes what a model wears off it, until it is known whether something else takes its place. */
export function takeOff(model: object): ReturnType<Wearer['stepAside']> {
  refuseHeld(model, 'This would take the adapter off the model');
  return worn.get(model)?.stepAside() ?? { back: () => {}, free: () => {} };
}

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

/** An adapter that stands beside a base model, and can be taken off for now: `back` undoes that, `free` ends it for good. */
interface Wearer {
  stepAside(): { back(): void; free(because: string): void };
  readonly active_adapters: string[];
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

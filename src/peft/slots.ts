import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { type DecoderPlan, NotPlanned, type PlannedLayer } from '../engine/ops/decode';
import type * as tf from '../engine/tf';
import { plainPairs } from './lora_term';
import type { Parts } from './parts';

/** Slots that a row of the decode op can name. */
const SLOTS = 31;

/** What a plan makes of one layer. */
type Change = (layer: PlannedLayer) => PlannedLayer;
const changed = <L extends PlannedLayer | undefined>(layer: L, change: Change) => layer && (change(layer) as L);

/** The A of every pair of an adapter; a NotPlanned error where there is more to it. */
function halvesOf(parts: Parts, name: string): tf.Tensor[] {
  const pairs = plainPairs(parts.get(name).adapters);
  if (!pairs) throw new NotPlanned(`the adapter ${show(name)} is more than low-rank pairs`);
  return [...pairs.values()].map(({ a }) => a.tensor);
}

/** A plan that is made while all of these stand in the model, each adapter's pairs in the slot of its place among `names`. */
export function planTogether(parts: Parts, names: readonly string[], make: () => DecoderPlan): DecoderPlan {
  if (names.length > SLOTS) throw new OptionError(`${names.length} adapters at once are more than the ${SLOTS} that there is room for.`);
  const slots = new Map(names.flatMap((name, slot) => halvesOf(parts, name).map((a) => [a, slot] as const)));
  const plan = parts.wearing(names, make);
  const slotted: Change = (layer) => ({ ...layer, pairs: layer.pairs?.map((pair) => ({ ...pair, slot: slots.get(pair.a) })) });
  return {
    ...plan,
    embed: slotted(plan.embed),
    head: slotted(plan.head),
    blocks: plan.blocks.map((block) => ({
      ...block,
      ...{ q: slotted(block.q), k: changed(block.k, slotted), v: changed(block.v, slotted), o: slotted(block.o) },
      ...{ gate: changed(block.gate, slotted), up: slotted(block.up), down: slotted(block.down) },
    })),
  };
}

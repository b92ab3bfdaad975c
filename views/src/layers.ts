import { kindsOf, placeOf } from './adapter';
import { type LowRankUpdate, shared, spansOf } from './spectrum';

/** How much the updates of one kind of module share between layers. */
export interface LayersOverlap {
  kind: string;
  /** Numbers of the layers that were compared. */
  layers: number[];
  /** For every pair of these, the first with all later ones, then the second: 0 to 1. */
  reads: number[];
  writes: number[];
}

/** Layers that are compared at most: a deep model's every second, third, ... */
const MOST = 32;
/** Multiplications that this may take: some seconds. */
const BUDGET = 4e9;

/** An update whose values are fetched when their turn comes. */
export type NamedUpdate = { name: string } & Omit<LowRankUpdate, 'a' | 'b'> & { values: () => Promise<Pick<LowRankUpdate, 'a' | 'b'>> };

/** Those of a list that lie evenly in it, with its ends. */
const evenly = <T>(list: readonly T[], most: number): T[] =>
  list.length <= most
    ? [...list]
    : Array.from({ length: most }, (_, i) => list[Math.round((i * (list.length - 1)) / Math.max(1, most - 1))]);

/**
 * What the updates share between layers, kind by kind, where all layers have one of the same shape. `pause` is awaited after each, so that whoever waits
 * for this thread has a turn.
 */
export async function layersOverlap(
  updates: readonly NamedUpdate[],
  pause: () => Promise<void> = async () => {},
): Promise<LayersOverlap[]> {
  const at = (update: NamedUpdate) => placeOf(update.name);
  const kinds = kindsOf(updates);
  const found: LayersOverlap[] = [];
  for (const kind of kinds) {
    const mine = updates.filter((update) => at(update).kind === kind && at(update).layer >= 0).sort((x, y) => at(x).layer - at(y).layer);
    const [first] = mine;
    const alike = mine.filter((u) => u.inFeatures === first.inFeatures && u.outFeatures === first.outFeatures);
    if (alike.length < 2) continue;
    const r = Math.max(...alike.map((update) => update.r));
    const pairs = BUDGET / kinds.length / (r * r * (first.inFeatures + first.outFeatures));
    const chosen = evenly(alike, Math.max(2, Math.min(MOST, Math.floor(Math.sqrt(2 * pairs)))));
    const spans = [];
    for (const update of chosen) spans.push(spansOf({ ...update, ...(await update.values()) }));
    const shares: { reads: number; writes: number }[] = [];
    for (let i = 0; i < spans.length; i++) {
      for (let j = i + 1; j < spans.length; j++) shares.push(shared(spans[i], spans[j]));
      await pause();
    }
    // As fine as a colour is told apart.
    const rounded = (side: 'reads' | 'writes') => shares.map((share) => Number(share[side].toFixed(2)));
    found.push({ kind, layers: chosen.map((update) => at(update).layer), reads: rounded('reads'), writes: rounded('writes') });
  }
  return found;
}

import type { LayerCache } from '../engine/ops/attention';

/** The keys and values of every layer, for generating one row. */
export class KeyValueCache {
  /** Positions filled so far. */
  length = 0;
  constructor(readonly layers: LayerCache[]) {}

  get capacity(): number {
    return this.layers[0].capacity;
  }

  dispose(): void {
    for (const layer of this.layers) layer.dispose();
  }
}

import type { AdapterData } from '../../views/src';

/** A module with these singular values. */
export const named = (name: string, singular: number[], more = {}) => ({
  ...{ name, outFeatures: 1024, inFeatures: 1024, rank: singular.length, trained: singular.length * 2048 },
  ...{ delta: Math.hypot(...singular), weight: 50, singular, ...more },
});
/** An adapter with a hostile name. */
export const adapter = (more: Partial<AdapterData> = {}): AdapterData => ({
  ...{ name: '<b>out</b>', method: 'LORA', base: 'base', createdAt: '2026-01-01T00:00:00Z', total: 1e6, notes: [] },
  modules: [
    named('model.layers.0.mlp.up_proj', [4, 3, 0]),
    named('model.layers.0.self_attn.q_proj', Array(16).fill(1)),
    named('model.layers.10.self_attn.q_proj', [2]),
  ],
  history: [
    { step: 10, deltas: [1, 2, 3], effectiveRanks: [1, 1.5, 1] },
    { step: 20, deltas: [2, 3, 4], effectiveRanks: [1, 1.75, 1] },
  ],
  overlap: { other: 'other', reads: [0.5, null, 1], writes: [0.25, null, 1] },
  merge: { format: 'bf16', tokens: 9, drift: 0.01, spread: 2, agreement: 1 },
  between: [{ kind: 'q_proj', layers: [0, 10], reads: [0.25], writes: [1] }],
  ...more,
});

/** Kinds of events: what they are called, and the sign that pictures show. */
export const EVENT_KINDS = {
  epoch: { name: 'epoch', sign: '┃' },
  checkpoint: { name: 'checkpoint', sign: '◆' },
  learning_rate: { name: 'rate set', sign: '★' },
  paused: { name: 'paused', sign: '■' },
  resumed: { name: 'resumed', sign: '▶' },
  overfitting: { name: 'overfitting', sign: '▲' },
  warning: { name: 'warning', sign: '▼' },
  nan: { name: 'not a number', sign: '✖' },
  stopped: { name: 'stopped', sign: '⊠' },
  failed: { name: 'failed', sign: '✖' },
} as const;

/** The kind that an event of a payload is of; of one that nobody knows, undefined. */
export const eventKind = (kind: string): keyof typeof EVENT_KINDS | undefined =>
  Object.hasOwn(EVENT_KINDS, kind) ? (kind as keyof typeof EVENT_KINDS) : undefined;

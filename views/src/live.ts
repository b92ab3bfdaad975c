import type { RunDelta, RunPayload } from './run';

/** The comm target that a view opens, with {run: id}, to follow a run and to ask something of it. */
export const RUN_COMM = 'tunebook.run';

/** What a view may ask of a run that trains. */
export const ACTIONS = ['pause', 'resume', 'stop', 'sample', 'evaluate', 'learning_rate', 'ask'] as const;
export type Action = (typeof ACTIONS)[number];

/** View to kernel. `value`: the new rate, for learning_rate; the question, for ask. A ping is answered by `alive`, and does nothing. */
export type Ask = { action: Action; value?: number | string } | { action: 'ping' };

/** The same target opened without a run: a page hears of all runs of the kernel, those of cells too that were sent by an earlier page. */
export type Known = { type: 'known'; run: RunPayload };

/** Kernel to view. A view is sent a snapshot first, then deltas; every Ask gets `heard` at once and `answer` when it is done. */
export type Live =
  | { type: 'alive' }
  | { type: 'snapshot'; run: RunPayload }
  | { type: 'delta'; delta: RunDelta }
  | { type: 'heard'; action: Action; text: string }
  | { type: 'answer'; action: Action; ok: boolean; text: string };

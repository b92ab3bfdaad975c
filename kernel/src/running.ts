import type { Outcome } from './outcome';
import type { Message } from './protocol';
import type { ErrorContent } from './report';

/** A cell that the worker is on. */
export interface Running {
  message: Message;
  interrupts: number;
  /** It was told to end: what it throws from then on comes of that (of a child that was signalled, say). */
  ending?: boolean;
  done(how: Ended): void;
}

/** A cell that is to run. */
export interface Asked {
  message: Message;
  code: string;
  expressions: Record<string, string>;
  count?: number;
  stop: AbortController;
}

export interface Ended {
  outcome: Outcome;
  /** Of the expressions that came with the cell. */
  results: Record<string, Outcome>;
}

export type Result = { error: ErrorContent } | { data?: Record<string, unknown>; results: Record<string, object> };

/** The last checkpoint that a display of a run tells of. */
export function checkpointIn(data: Record<string, { checkpoints?: unknown } | undefined>): string | undefined {
  const run = Object.entries(data).find(([type]) => /tunebook\.run/.test(type))?.[1];
  const last = Array.isArray(run?.checkpoints) ? run.checkpoints.at(-1) : undefined;
  return typeof last === 'string' ? last : undefined;
}

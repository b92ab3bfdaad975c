import { inspect } from 'node:util';

/** How a cell ended. */
export type Outcome = { ok: true; data?: Record<string, unknown> } | { ok: false; ename: string; evalue: string; stack: string };

/** A value as a front end shows it. A value that knows how (Symbol.for('Jupyter.display')) says so itself. */
export function bundle(value: unknown): Record<string, unknown> {
  const show = value && typeof value === 'object' ? (value as Record<symbol, unknown>)[Symbol.for('Jupyter.display')] : undefined;
  if (typeof show === 'function') return show.call(value) as Record<string, unknown>;
  return { 'text/plain': inspect(value) };
}

/** An error as text: `stack` still names the places in the JavaScript that ran. */
export function failure(error: unknown): Outcome {
  const like = error instanceof Error || (error && typeof error === 'object' && 'message' in error && 'name' in error);
  if (!like) return { ok: false, ename: 'Error', evalue: inspect(error), stack: '' };
  const { name, message, stack, cause } = error as Error;
  const because = cause === undefined ? '' : `\nCaused by: ${cause instanceof Error ? cause.stack : inspect(cause)}`;
  return { ok: false, ename: String(name || 'Error'), evalue: String(message), stack: `${stack ?? ''}${because}` };
}

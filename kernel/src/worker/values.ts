import { inspect } from 'node:util';

/** An error as text: `stack` still names the places in the JavaScript that ran. */
export interface Thrown {
  /** Empty where something was thrown that is no error. */
  ename: string;
  evalue: string;
  stack: string;
  /** Errors that it carries: its cause, those it stands for. */
  carried: Carried[];
}

export type Carried = Thrown & { why: string };

/** How a cell ended. */
export type Outcome = { ok: true; data?: Record<string, unknown> } | ({ ok: false } & Thrown);

const DISPLAY = Symbol.for('Jupyter.display');

/** A value as a front end shows it. A value that knows how (Symbol.for('Jupyter.display')) says so itself, at once or later. */
export async function bundle(value: unknown): Promise<Record<string, unknown>> {
  const can = value !== null && (typeof value === 'object' || typeof value === 'function');
  const show = can ? (value as Record<symbol, unknown>)[DISPLAY] : undefined;
  if (typeof show !== 'function') return { 'text/plain': inspect(value) };
  const made: unknown = await show.call(value);
  if (!made || typeof made !== 'object' || Array.isArray(made))
    throw new TypeError(`Symbol.for('Jupyter.display') must give an object of MIME types and their data, not ${inspect(made)}.`);
  return Object.fromEntries(await Promise.all(Object.entries(made).map(async ([type, data]) => [type, await data])));
}

/** Errors in one report, and errors of one list. */
const MOST = 50;
const MOST_OF_ONE = 10;

/** What is said before a cause. */
export const CAUSE = 'Caused by';

const isError = (value: unknown): value is Error =>
  value instanceof Error || Boolean(value && typeof value === 'object' && 'message' in value && 'name' in value);

export const failure = (error: unknown): { ok: false } & Thrown => ({ ok: false, ...thrown(error, new Set()) });

function thrown(error: unknown, seen: Set<unknown>): Thrown {
  if (!isError(error)) return { ename: seen.size ? '' : 'Error', evalue: inspect(error), stack: '', carried: [] };
  const { name, message, stack } = error;
  const ename = String(name || 'Error');
  if (seen.has(error)) return { ename, evalue: `${message} (shown above)`, stack: '', carried: [] };
  seen.add(error);
  return { ename, evalue: String(message), stack: String(stack ?? ''), carried: carriedBy(error, seen) };
}

/** The errors in an error: its cause, those of an AggregateError, the two of a SuppressedError. */
function carriedBy(error: Error, seen: Set<unknown>): Carried[] {
  const { cause, errors, error: last, suppressed } = error as Error & { errors?: unknown; error?: unknown; suppressed?: unknown };
  const inside: [why: string, inner: unknown][] = [];
  if (cause !== undefined) inside.push([CAUSE, cause]);
  if (error.name === 'SuppressedError') inside.push(['Error', last], ['Suppressed', suppressed]);
  const list = Array.isArray(errors) && (error instanceof AggregateError || errors.some(isError)) ? errors : [];
  inside.push(...list.slice(0, MOST_OF_ONE).map((inner, i): [string, unknown] => [`Error ${i + 1} of ${list.length}`, inner]));
  const carried: Carried[] = [];
  for (const [why, inner] of inside) if (seen.size < MOST) carried.push({ why, ...thrown(inner, seen) });
  const left = inside.length - carried.length + Math.max(0, list.length - MOST_OF_ONE);
  if (left) carried.push({ why: 'Not shown', ename: '', evalue: `${left} more`, stack: '', carried: [] });
  return carried;
}

// Errors in words. Whatever was thrown, and whatever its parts throw when they are looked at, this gives text.
import { inspect, types } from 'node:util';
import { CAUSE, type Thrown } from '../outcome';
import { slice, stringify } from '../sturdy';

const plainInspect = inspect;
const { isProxy, isNativeError } = types;

/** Errors in one report, and errors of one list. */
const MOST = 50;
const MOST_OF_ONE = 10;
/** Characters of what one error says; of its stack, the last ones count. */
const LONGEST = 1 << 18;

/** Something that was to be shown and cannot be: `what` names it, `error` is what was thrown on the way. */
export class DisplayError extends Error {
  override name = 'DisplayError';
  constructor(what: string, error: unknown, type?: string) {
    super(`${what} cannot be shown${type === undefined ? '' : ` as ${type}`}: ${sentence(error)}`);
    const stack = part(error, 'stack'); // names the place in the cell
    if (typeof stack === 'string') this.stack = stack;
  }
}

/** An error, and those in it, as JSON of a Thrown; `more`: fields in front of its own. */
export function failure(error: unknown, more = ''): string {
  try {
    return json(thrown(error, []), more);
  } catch {
    return json({ ename: 'Error', evalue: '(an error that cannot be put into words)', stack: '', carried: [] }, more);
  }
}

function json({ ename, evalue, stack, carried, why }: Thrown & { why?: string }, more = ''): string {
  let list = '';
  for (let i = 0; i < carried.length; i++) list += `${i ? ',' : ''}${json(carried[i])}`;
  const reason = why === undefined ? '' : `"why":${stringify(why)},`;
  return `{${more}${reason}"ename":${stringify(ename)},"evalue":${stringify(evalue)},"stack":${stringify(stack)},"carried":[${list}]}`;
}

function thrown(error: unknown, seen: unknown[]): Thrown {
  if (!isError(error)) return { ename: seen.length ? '' : 'Error', evalue: wordsOf(textOf(error)), stack: '', carried: [] };
  const ename = wordsOf(part(error, 'name') || 'Error');
  const evalue = wordsOf(part(error, 'message'));
  if (has(seen, error)) return { ename, evalue: `${evalue} (shown above)`, stack: '', carried: [] };
  seen[seen.length] = error;
  const stack = part(error, 'stack');
  return { ename, evalue, stack: typeof stack === 'string' ? slice(stack, -LONGEST) : '', carried: carriedBy(error, seen) };
}

/** The errors in an error: its cause, those of an AggregateError, the two of a SuppressedError. */
function carriedBy(error: unknown, seen: unknown[]): Thrown['carried'] {
  const carried: Thrown['carried'] = [];
  let left = 0;
  const add = (why: string, inner: unknown) => {
    if (seen.length < MOST) carried[carried.length] = { why, ...thrown(inner, seen) };
    else left++;
  };
  const cause = part(error, 'cause');
  if (cause !== undefined) add(CAUSE, cause);
  if (part(error, 'name') === 'SuppressedError') {
    add('Error', part(error, 'error'));
    add('Suppressed', part(error, 'suppressed'));
  }
  const errors = part(error, 'errors');
  const size = isList(errors) && (part(error, 'name') === 'AggregateError' || isError(part(errors, '0'))) ? errors.length : 0;
  for (let i = 0; i < size && i < MOST_OF_ONE; i++) add(`Error ${i + 1} of ${size}`, part(errors, `${i}`));
  left += Math.max(0, size - MOST_OF_ONE);
  if (left) carried[carried.length] = { why: 'Not shown', ename: '', evalue: `${left} more`, stack: '', carried: [] };
  return carried;
}

function has(list: unknown[], value: unknown): boolean {
  for (let i = 0; i < list.length; i++) if (list[i] === value) return true;
  return false;
}

const isList = (value: unknown): value is unknown[] => !isProxy(value) && Array.isArray(value);

/** An error, or what is like one: of another realm, or of a library. */
function isError(value: unknown): boolean {
  if (isNativeError(value)) return true;
  try {
    return value instanceof Error || (typeof value === 'object' && value !== null && 'message' in value && 'name' in value);
  } catch {
    return false;
  }
}

/** A property, or why it cannot be had. */
function part(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object') return undefined;
  try {
    return (value as Record<string, unknown>)[name];
  } catch (error) {
    return `(its ${name} cannot be read: ${sentence(error)})`;
  }
}

function wordsOf(value: unknown): string {
  const text = typeof value === 'string' ? value : textOf(value);
  return text.length > LONGEST ? `${slice(text, 0, LONGEST)}... ${text.length - LONGEST} more characters` : text;
}

/** Text for anything, as the console shows it. */
export function textOf(value: unknown): string {
  try {
    return plainInspect(value);
  } catch (error) {
    return `(${typeof value === 'object' ? 'an object' : `a ${typeof value}`} that cannot be shown: ${sentence(error)})`;
  }
}

/** A sentence about an error, which may be anything. */
function sentence(error: unknown): string {
  try {
    if (isNativeError(error)) return `${String(error.name)}: ${String(error.message)}`;
    return typeof error === 'object' || typeof error === 'function'
      ? plainInspect(error, { customInspect: false, depth: 0 })
      : String(error);
  } catch {
    return 'what it throws cannot be shown either';
  }
}

// Which cell the running code belongs to. Node's AsyncLocalStorage would know more, but with its hooks on, code that is stopped
// from outside leaves Node's stack of contexts unbalanced, which Node takes for a fault of its own and dies of.
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers';
import promised from 'node:timers/promises';
import { promisify } from 'node:util';
import { sturdyMap } from '../sturdy';

let now = 0;
/** The cell that was started last: code that comes from nowhere belongs to it. */
let latest = 0;
/** The timers of each running cell. */
const pending = sturdyMap<number, Map<object, object>>();

export const cellNow = (): number => now;

export function enterCell(cell: number): void {
  now = latest = cell;
  pending.set(cell, sturdyMap());
}

/** Its timers go on; with `cut` they end, so that a loop that waits for them does not go on. */
export function leaveCell(cell: number, cut: boolean): void {
  if (cut)
    pending.get(cell)?.forEach((timer) => {
      clearTimeout_(timer as never);
      clearImmediate_(timer as never);
    });
  pending.delete(cell);
}

/** Runs f for a cell; what it awaits at once belongs to that too. */
export function inCell<T>(cell: number, f: () => T): T {
  now = cell;
  setImmediate_(leave);
  return f();
}
const leave = () => {
  now = latest;
};

const { setImmediate: setImmediate_, clearTimeout: clearTimeout_, clearImmediate: clearImmediate_ } = timers;
type Start = (f: (...args: unknown[]) => void, ...rest: unknown[]) => object;

/** A timer whose callback runs for the cell that set it, and that ends with that cell when it is interrupted. */
function owned(start: Start, once: boolean): Start {
  return (f, ...rest) => {
    if (typeof f !== 'function') return start(f, ...rest); // which says what is wrong
    const cell = now;
    const timer = start(
      (...args) => {
        if (once) pending.get(cell)?.delete(timer);
        inCell(cell, () => f(...args));
      },
      ...rest,
    );
    pending.get(cell)?.set(timer, timer);
    return timer;
  };
}

/** Gives the process timers that know their cell, under all names that Node has for them. */
export function followTimers(): void {
  const changed = {
    setTimeout: owned(timers.setTimeout as unknown as Start, true),
    setInterval: owned(timers.setInterval as unknown as Start, false),
    setImmediate: owned(setImmediate_ as unknown as Start, true),
  };
  const waitFor =
    (start: Start, plain: (...args: never[]) => Promise<unknown>, delayed: boolean) =>
    (...args: unknown[]) => {
      const [value, options] = delayed ? args.slice(1) : args;
      if (options) return plain(...(args as never[])); // with a signal, say
      return new Promise((resolve) => (delayed ? start(() => resolve(value), args[0]) : start(() => resolve(value))));
    };
  const timeout = waitFor(changed.setTimeout, promised.setTimeout as never, true);
  const immediate = waitFor(changed.setImmediate, promised.setImmediate as never, false);
  Object.assign(changed.setTimeout, { [promisify.custom]: timeout });
  Object.assign(changed.setImmediate, { [promisify.custom]: immediate });
  Object.assign(timers, changed);
  Object.assign(globalThis, changed);
  Object.assign(promised, { setTimeout: timeout, setImmediate: immediate });
  syncBuiltinESMExports();
}

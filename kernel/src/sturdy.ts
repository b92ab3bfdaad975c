// Cells may replace what they like (JSON.stringify, Array.prototype.map, the global Promise): what runs them uses what was there before,
// loops by index where that is called often, and keeps its books in maps with methods of their own.
const { call } = Function.prototype;
/** A method as a function of what it is called on. */
const free = <F>(method: unknown) => call.bind(method as never) as F;

export const { stringify } = JSON;
export const { keys, assign, create } = Object;
export const Promised = Promise;
export const immediate = setImmediate;
export const { load, store, wait, notify, compareExchange } = Atomics;

export const { from: bytesOf, allocUnsafe } = Buffer;
export const slice = free<(text: string, from: number, to?: number) => string>(String.prototype.slice);
export const copyTo = free<(into: Uint8Array, bytes: Uint8Array, at: number) => void>(Uint8Array.prototype.set);

const { get, set, has, delete: remove, forEach } = Map.prototype;
const methods = { get, set, has, delete: remove, forEach };
const PlainMap = Map;

export const sturdyMap = <K, V>(): Map<K, V> => assign(new PlainMap<K, V>(), methods) as Map<K, V>;

/** Later, in a microtask: there Node keeps no books that would be wrong if the code were stopped. */
export async function microtask(f: () => void): Promise<void> {
  await null;
  f();
}

/** What happens while the library works. Those who show it (the notebook views, a progress line) listen here. */
export interface Events {
  warning: { text: string };
  /** A training run began, moved on or ended; `run` is the same object throughout, and `handle` takes what is asked of it. */
  run: { run: object; handle: object; what: 'begin' | 'step' | 'change' | 'end' };
  /** Several runs, one after another; `waits` takes what must be done before the sweep is. */
  sweep: { sweep: object; what: 'begin' | 'step' | 'change' | 'end'; waits?: Promise<unknown>[] };
  /** A picture of a run is wanted, as a PNG; whoever can draws it at once. */
  picture: { run: object; give(png: Uint8Array): void };
  /** A chart of figures is wanted, as a PNG; whoever can draws it. `kind` says which chart shows such `data`. */
  chart: { kind: string; data: object; give(png: Promise<Uint8Array>): void };
  /** A line of progress that replaces the one before it with the same id. */
  progress: { id: string; text: string; done?: boolean };
  /** What there is to know of rows that are about to be trained on. */
  preview: { audit: object };
  /** Something worth a table or a marked-up text. */
  show: { html: string; text: string };
}

type Listener<K extends keyof Events> = (event: Events[K]) => void;
const listeners = new Map<keyof Events, Set<Listener<never>>>();

/** Registers a listener; returns a function that removes it. */
export function on<K extends keyof Events>(name: K, listener: Listener<K>): () => void {
  const set = listeners.get(name) ?? new Set();
  listeners.set(name, set.add(listener as Listener<never>));
  return () => set.delete(listener as Listener<never>);
}

let silent: readonly (keyof Events)[] = [];

/** For as long as f runs, these events are told to nobody: what every run of several would say again. */
export async function unsaid<T>(names: readonly (keyof Events)[], f: () => Promise<T>): Promise<T> {
  const before = silent;
  silent = names;
  try {
    return await f();
  } finally {
    silent = before;
  }
}

export function emit<K extends keyof Events>(name: K, event: Events[K]): void {
  if (silent.includes(name)) return;
  for (const listener of listeners.get(name) ?? []) (listener as Listener<K>)(event);
}

const said = new Set<string>();

/** A warning, shown once a process. */
export function warnOnce(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  if (listeners.get('warning')?.size) emit('warning', { text });
  else console.warn(`Warning: ${text}`);
}

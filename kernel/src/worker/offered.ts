import type { Asked } from '../offers';
import type { Scope } from './evaluate';
import { emit } from './output';

/** What a library knows of a string that is being written, by the values of the cells' names. */
type Offer = (asked: Asked, names: Record<string, unknown>) => { values: string[]; files?: boolean } | undefined;

/** Tells the front end what the libraries that are loaded offer: they put a function on the global object that says so. */
export function offer(id: number, asked: Asked, scope: Scope): void {
  try {
    const ask = (globalThis as Record<symbol, unknown>)[Symbol.for('tunebook.values')] as Offer | undefined;
    const found = ask?.(asked, scope);
    emit({ type: 'offered', id, offered: found && { values: found.values.map(String), files: Boolean(found.files) } });
  } catch {
    emit({ type: 'offered', id }); // a library's fault is none of who types
  }
}

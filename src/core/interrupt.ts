import { InterruptedError } from './errors';

/** A kernel raises this flag while JavaScript is busy: the cell is to end at once, and what it throws cleans up on its way. */
export function endIfInterrupted(): void {
  const flag = (globalThis as Record<symbol, unknown>)[Symbol.for('tunebook.interrupt')] as Int32Array | undefined;
  if (flag && Atomics.load(flag, 0) !== 0) throw new InterruptedError('Ended at once by an interrupt.');
}

/** Yields to the event loop; throws an InterruptedError where that brought the word to end at once. */
export async function turn(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
  endIfInterrupted();
}

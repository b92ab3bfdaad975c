// How the worker's main thread and its watchdog agree on when JavaScript may be stopped. One word, shared by both, holds how many
// messages the main thread has taken, and in its two low bits whether it may be stopped now. So these cannot come to be:
// a half-written frame, a message that is taken twice or not at all, a stop that hits what came after the cell it was meant for.

/** Cells' code runs, or none: it may be stopped. */
export const OPEN = 0;
/** The main thread is at something that must not be left half done. */
export const SHUT = 1;
/** The same, and the watchdog waits to stop it behind that. */
export const WANTED = 2;
/** It is being stopped; until it was, the main thread does not get past the gate. */
export const FIRING = 3;

export const gateOf = (word: number): number => word & 3;
export const takenOf = (word: number): number => word >> 2;
export const wordOf = (taken: number, gate: number): number => (taken << 2) | gate;

import { FIRING, gateOf, OPEN, SHUT, takenOf, wordOf } from '../gate';
import { compareExchange, load, notify, store, wait } from '../sturdy';

export const word = new Int32Array(new SharedArrayBuffer(4));
let depth = 0;

/** Does something short as a whole: whoever wants to stop this thread does so before it or behind it. */
export function whole<T>(act: () => T): T {
  if (!depth) shut();
  depth++;
  try {
    return act();
  } finally {
    if (!--depth) open();
  }
}

function shut(): void {
  for (;;) {
    const now = load(word, 0);
    if (gateOf(now) === OPEN && compareExchange(word, 0, now, wordOf(takenOf(now), SHUT)) === now) return;
    wait(word, 0, now, 5); // the stop comes here
  }
}

function open(): void {
  const taken = takenOf(load(word, 0));
  if (compareExchange(word, 0, wordOf(taken, SHUT), wordOf(taken, OPEN)) !== wordOf(taken, SHUT)) {
    store(word, 0, wordOf(taken, FIRING)); // it was wanted
    notify(word, 0);
  }
}

/** Takes a message of the watchdog, exactly once: after a stop it sends again all that was not taken. `act` is short and calls no code of cells. */
export function take(number: number, act: () => void): void {
  whole(() => {
    if (number !== takenOf(load(word, 0)) + 1) return;
    try {
      act();
    } finally {
      store(word, 0, wordOf(number, SHUT)); // what was wanted, was so for this message
      notify(word, 0);
    }
  });
}

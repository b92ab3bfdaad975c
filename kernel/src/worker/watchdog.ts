// A thread of the worker that is never stopped and never waits for cells. It reads what the front end sends, hands it on to the main
// thread, and where that does not take the order to end a cell soon, stops its JavaScript. No port is open for it.
import { Session } from 'node:inspector';
import { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { type MessagePort, workerData } from 'node:worker_threads';
import { Decoder, type Frame } from '../frames';
import { FIRING, gateOf, OPEN, SHUT, takenOf, WANTED, wordOf } from '../gate';
import { Processes } from './processes';
import type { Child } from './watch';

const { fd, flag, word, port } = workerData as { fd: number; flag: Int32Array; word: Int32Array; port: MessagePort };
/** What a cell may need to reach its next yield before its JavaScript is stopped, in ms; then a third as much again, and so on. */
const PROMPT = 3;
const LONGEST = 20;
/** When to look for processes that a cell waits for inside a call, the last pause over and over: one may just be starting. */
const PAUSES = [PROMPT, 10, 20, 40];
/** What these may need to end, before they are killed. */
const PATIENCE = 450;

const sent: { number: number; message: Frame }[] = [];
let count = 0;
/** The message that the main thread has to come to. */
let due = 0;
let timer: NodeJS.Timeout | undefined;
let stopping = false;
const processes = new Processes(process.pid);

const taken = () => takenOf(Atomics.load(word, 0));

function send(message: Frame): number {
  while (sent.length && sent[0].number <= taken()) sent.shift();
  const item = { number: ++count, message };
  sent.push(item);
  port.postMessage(item);
  return count;
}

function receive(frame: Frame): void {
  switch (frame.type) {
    case 'ops':
      Atomics.store(flag, 0, 1);
      return;
    case 'run':
      Atomics.store(flag, 0, 0);
      processes.begin(frame.cell as number);
      break;
    case 'signal':
      processes.signal('SIGINT', frame.cells, false);
      break;
    case 'end': {
      send(frame);
      due = send({ type: 'turn' }); // its event loop turns again
      insistIn(PROMPT);
      void endProcesses(due, frame.cell as number);
      return;
    }
  }
  send(frame);
}

/** Stops the main thread's JavaScript over and over until it takes what is due. */
function insistIn(patience: number): void {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (taken() >= due || stopping) return;
    if (close()) await stop();
    insistIn(Math.min(1.3 * patience, LONGEST));
  }, patience);
}

/** Closes the gate for what is to be stopped. False where there is nothing to stop any more, or it is at something whole for long. */
function close(): boolean {
  for (;;) {
    const now = Atomics.load(word, 0);
    if (takenOf(now) >= due) return false;
    if (gateOf(now) === OPEN) {
      if (Atomics.compareExchange(word, 0, now, wordOf(takenOf(now), FIRING)) === now) return true;
      continue;
    }
    const wanted = wordOf(takenOf(now), WANTED);
    if (Atomics.compareExchange(word, 0, wordOf(takenOf(now), SHUT), wanted) !== wordOf(takenOf(now), SHUT)) continue;
    Atomics.wait(word, 0, wanted, PROMPT);
    if (gateOf(Atomics.load(word, 0)) === FIRING) return true; // closed by the main thread on its way out
    if (Atomics.compareExchange(word, 0, wanted, wordOf(takenOf(now), SHUT)) === wanted) return false;
  }
}

/** The inspector is connected for this moment only: Node waits for it when a process exits, and says so. */
async function stop(): Promise<void> {
  stopping = true;
  const session = new Session();
  session.connectToMainThread();
  await new Promise<void>((resolve) => session.post('Runtime.terminateExecution', () => resolve()));
  session.disconnect();
  const lost = sent.filter(({ number }) => number > taken());
  Atomics.store(word, 0, wordOf(taken(), OPEN));
  Atomics.notify(word, 0);
  for (const item of lost) port.postMessage(item);
  stopping = false;
}

/**
 * The processes that a cell started end as it does, once its JavaScript is being stopped, so that it does not start others. Those that
 * it waits for inside a call end at all events.
 */
async function endProcesses(until: number, cell: number): Promise<void> {
  const told = new Set<number>();
  let waited = 0;
  for (let i = 0; waited < PATIENCE; i++) {
    const pause = PAUSES[Math.min(i, PAUSES.length - 1)];
    await wait(pause);
    waited += pause;
    const ended = taken() >= until;
    processes.signal('SIGINT', [cell], ended, told);
    if (ended) return;
  }
  if (taken() < until) processes.signal('SIGKILL', [cell], false);
}

port.on('message', (child: Child) => processes.note(child));
const decoder = new Decoder();
const pipe = new Socket({ fd, readable: true, writable: false });
pipe.on('data', (bytes: Buffer) => {
  for (const frame of decoder.push(bytes)) receive(frame);
});
// The front end is gone, and the main thread may never find the time to see it.
const leave = () => process.kill(-process.pid, 'SIGKILL');
pipe.on('close', leave);
pipe.on('error', leave);

import { join } from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { ToWorker } from '../worker';
import { word } from './gate';

/** Not 0 once a cell has to end: the library's native ops throw then. */
const flag = new Int32Array(new SharedArrayBuffer(4));

/** What the watchdog is told of the processes that cells start. */
export type Child = { pid: number; cell: number } | { pid: number; kept: true };

/** Starts the watchdog, which reads what the front end sends and hands it on, numbered. */
export function startWatchdog(take: (number: number, message: ToWorker) => void): (child: Child) => void {
  Object.assign(globalThis, { [Symbol.for('tunebook.interrupt')]: flag });
  const { port1, port2 } = new MessageChannel();
  new Worker(join(__dirname, 'watchdog.js'), {
    workerData: { fd: 4, flag, word, port: port2 },
    transferList: [port2],
    stdout: false,
    stderr: false,
  }).unref();
  port1.on('message', ({ number, message }) => take(number, message));
  return (child) => port1.postMessage(child);
}

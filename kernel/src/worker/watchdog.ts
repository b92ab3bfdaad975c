// A thread of the worker that can stop the main thread's JavaScript while that spins: 'x' on its pipe does so, 's' raises a flag
// that the library looks at before each native op. No port is open for it.
import { Session } from 'node:inspector';
import { Socket } from 'node:net';
import { workerData } from 'node:worker_threads';

const session = new Session();
session.connectToMainThread();
const { fd, flag } = workerData as { fd: number; flag: Int32Array };
const pipe = new Socket({ fd, readable: true, writable: false });
pipe.on('data', (bytes: Buffer) => {
  for (const byte of bytes.toString())
    if (byte === 's') Atomics.store(flag, 0, 1);
    else session.post('Runtime.terminateExecution');
});
// The front end is gone, and the main thread may never find the time to see it.
const leave = () => process.kill(process.pid, 'SIGKILL');
pipe.on('close', leave);
pipe.on('error', leave);

import { writeSync } from 'node:fs';
import { encode, type Frame } from '../frames';
import { cellNow } from './context';

/** The pipe to the front end: written at once, so that what was printed before a crash or inside an endless loop arrives. */
const FD = 3;

export function emit(frame: Frame): void {
  writeSync(FD, encode({ cell: cellNow(), ...frame }));
}

/** What is written to the process's streams is a cell's output. */
export function captureStreams(): void {
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = process[name] as unknown as { write: unknown; isTTY: boolean };
    stream.write = (chunk: Uint8Array | string, encoding?: unknown, done?: unknown) => {
      emit({ type: 'stream', name, text: typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString() });
      const callback = typeof encoding === 'function' ? encoding : done;
      if (typeof callback === 'function') callback();
      return true;
    };
  }
}

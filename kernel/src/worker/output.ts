import { writeSync } from 'node:fs';
import { inspect } from 'node:util';
import { encode, type Frame } from '../frames';
import { cellNow } from './context';

/** The pipe to the front end: written at once, so that what was printed before a crash or inside an endless loop arrives. */
const FD = 3;

export function emit(frame: Frame): void {
  writeSync(FD, encode({ cell: cellNow(), ...frame }));
}

type Done = (error?: Error | null) => void;

/** What is written to the process's streams is a cell's output: text as it is, bytes for the front end to put together. */
export function captureStreams(): void {
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (chunk: Uint8Array | string, encoding?: BufferEncoding | Done | null, done?: Done) => {
      const coding = typeof encoding === 'string' ? encoding : 'utf8';
      if (typeof chunk !== 'string' && !ArrayBuffer.isView(chunk)) throw notWritable(chunk);
      if (typeof chunk === 'string' && /^utf-?8$/i.test(coding)) emit({ type: 'stream', name, text: chunk });
      else emit({ type: 'stream', name, buffers: [typeof chunk === 'string' ? Buffer.from(chunk, coding) : bytesOf(chunk)] });
      const callback = typeof encoding === 'function' ? encoding : done;
      if (typeof callback === 'function') process.nextTick(callback, null);
      return true;
    };
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength);

/** As Node's own streams say it. */
function notWritable(chunk: unknown): Error {
  const [code, message] =
    chunk === null
      ? ['ERR_STREAM_NULL_VALUES', 'May not write null values to stream']
      : ['ERR_INVALID_ARG_TYPE', `The "chunk" argument must be of type string or a Buffer or TypedArray. Received ${inspect(chunk)}`];
  return Object.assign(new TypeError(message), { code });
}

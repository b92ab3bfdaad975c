import { writeSync } from 'node:fs';
import { inspect } from 'node:util';
import { type Frame, pack } from '../frames';
import { keys, stringify, wait } from '../sturdy';
import { cellNow } from './context';
import { whole } from './gate';

/** The pipe to the front end: written at once, so that what was printed before a crash or inside an endless loop arrives. */
const FD = 3;
const write = writeSync;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** Text that is JSON already. */
export class Json {
  constructor(readonly text: string) {}
}

/** Sends a frame to the front end. What throws while contents are put into words (a BigInt, a cycle, a getter) is thrown before a byte is sent. */
export function emit({ buffers, ...rest }: Frame): void {
  const frame: Record<string, unknown> = { cell: cellNow(), ...rest };
  const names = keys(frame);
  let fields = '';
  for (let i = 0; i < names.length; i++) {
    const value = frame[names[i]];
    const text = value instanceof Json ? value.text : stringify(value);
    if (text !== undefined) fields += `${fields && ','}"${names[i]}":${text}`;
  }
  const bytes = pack(fields, buffers);
  whole(() => writeAll(bytes));
}

function writeAll(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; )
    try {
      at += write(FD, bytes, at, bytes.length - at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      wait(PAUSE, 0, 0, 1);
    }
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

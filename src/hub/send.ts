import { createReadStream } from 'node:fs';
import { type IncomingMessage, request as plain } from 'node:http';
import { request as secure } from 'node:https';
import { askedToWait, pause, unreachable } from './http';
import { RETRY, streamTimeout } from './settings';

/** A part of a file. */
export interface Slice {
  path: string;
  from: number;
  to: number;
}

interface Answer {
  status: number;
  headers: Headers;
}

/** A storage may think about what it got for longer than a line may be silent. */
const quiet = (): number => Math.max(60_000, streamTimeout());

function sendOnce(url: string, { path, from, to }: Slice, report: (bytes: number) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = url.startsWith('https:') ? secure : plain;
    const ask = request(url, { method: 'PUT', headers: { 'content-length': to - from } });
    const bytes = to > from ? createReadStream(path, { start: from, end: to - 1, highWaterMark: 2 ** 18 }) : undefined;
    const fail = (error: Error) => {
      bytes?.destroy();
      ask.destroy();
      reject(error);
    };
    ask.setTimeout(quiet(), () => fail(new DOMException('silence', 'TimeoutError')));
    ask.on('error', fail);
    ask.on('response', (answer: IncomingMessage) => {
      bytes?.destroy();
      answer.resume();
      answer.on('error', fail);
      answer.on('end', () => {
        const headers = new Headers(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]));
        resolve({ status: answer.statusCode ?? 0, headers });
      });
    });
    bytes?.on('error', fail);
    bytes?.on('data', (chunk) => report(chunk.length));
    if (bytes) bytes.pipe(ask);
    else ask.end();
  });
}

/**
 * Sends a part of a file to a signed address, byte by byte from the disk: fetch would hold all of it in memory. Again, from its beginning,
 * where the connection breaks or the storage has a bad moment. `report` is told of bytes as they go, negative ones where they go again.
 */
export async function sendFile(url: string, slice: Slice, report: (bytes: number) => void): Promise<Answer> {
  for (let n = 0; ; n++) {
    let sent = 0;
    const count = (bytes: number) => {
      sent += bytes;
      report(bytes);
    };
    let wait = pause(n);
    try {
      const answer = await sendOnce(url, slice, count);
      if (answer.status !== 408 && answer.status !== 429 && answer.status < 500) return answer;
      if (n >= RETRY.times) return answer;
      wait = 1000 * (askedToWait(answer.headers) ?? wait / 1000);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).path !== undefined || n >= RETRY.times) throw unreachable(url, error);
    }
    report(-sent);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

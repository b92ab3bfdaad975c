import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Logged {
  method: string;
  url: string;
  host: 'localhost' | string;
  authorization?: string;
  range?: string;
}

/** What goes wrong with one answer. */
export type Mishap =
  /** Another answer. */
  | { status: number; headers?: Record<string, string>; body?: string }
  /** The connection ends after so many bytes; of what is sent here, with the first ones. */
  | { cut: number }
  /** Bytes stop coming after so many; the connection stays. */
  | { stall: number }
  /** A byte is changed on the way. */
  | { flip: number }
  /** The header tells another length, and so many bytes come. */
  | { length: number }
  /** Ranges are not known. */
  | { noRanges: true };

/** Says for each request whether something goes wrong. */
export type Fault = (request: Logged, count: number) => Mishap | undefined;

type Handler = (ask: IncomingMessage, answer: ServerResponse, body: Buffer) => unknown;

/** An HTTP server on a port of its own that notes what is asked, sends ranges, and fails where it is told to. */
export class Served {
  readonly log: Logged[] = [];
  fault?: Fault;
  private mishap?: Mishap;
  private readonly server = createServer((ask, answer) => {
    const { method = 'GET', url = '/', headers } = ask;
    const { authorization, range } = headers;
    const logged = { method, url, host: headers.host ?? '', ...(authorization && { authorization }), ...(range && { range }) };
    this.log.push(logged);
    const body: Buffer[] = [];
    const mishap = this.fault?.(logged, this.log.filter((l) => l.url === url && l.method === method).length);
    ask.on('error', () => {});
    ask.on('data', (bytes) => {
      if (mishap && 'cut' in mishap && method === 'PUT') ask.socket.destroy();
      body.push(bytes);
    });
    ask.on('end', () => {
      if (mishap && 'status' in mishap)
        return answer.writeHead(mishap.status, { 'content-type': 'application/json', ...mishap.headers }).end(mishap.body ?? '{}');
      this.mishap = mishap;
      this.handler(ask, answer, Buffer.concat(body));
    });
  });

  constructor(private readonly handler: Handler) {}

  start(): Promise<void> {
    return new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }
  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Bytes, or the range of them that is asked for; or less, where something goes wrong. */
  send(ask: IncomingMessage, answer: ServerResponse, bytes: Buffer, headers: Record<string, string>): void {
    const { mishap } = this;
    this.mishap = undefined;
    const asked = mishap && 'noRanges' in mishap ? null : ask.headers.range?.match(/^bytes=(\d+)-(\d*)$/);
    const [from, to] = asked
      ? [Number(asked[1]), Math.min(bytes.length, asked[2] ? Number(asked[2]) + 1 : bytes.length)]
      : [0, bytes.length];
    if (asked && from >= bytes.length) return void answer.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    let part = bytes.subarray(from, to);
    const length = mishap && 'length' in mishap ? mishap.length : part.length;
    answer.writeHead(asked ? 206 : 200, {
      'content-length': length,
      'accept-ranges': 'bytes',
      ...(asked && { 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` }),
      ...headers,
    });
    if (ask.method === 'HEAD') return void answer.end();
    if (mishap && 'flip' in mishap) {
      part = Buffer.from(part);
      part[Math.min(mishap.flip, part.length - 1)] ^= 1;
    }
    if (mishap && 'length' in mishap) return void answer.end(Buffer.alloc(length));
    if (mishap && 'cut' in mishap) return void answer.write(part.subarray(0, mishap.cut), () => ask.socket.destroy());
    if (mishap && 'stall' in mishap) return void answer.write(part.subarray(0, mishap.stall));
    answer.end(part);
  }
}

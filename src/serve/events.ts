import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';

/** Server-sent events to one reader, as fast as it reads. */
export class EventStream {
  private readonly raw: ServerResponse;

  /** `seconds`: in which the reader must take what was sent. */
  constructor(
    reply: FastifyReply,
    private readonly seconds: number,
  ) {
    reply.hijack();
    this.raw = reply.raw;
    this.raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
  }

  /** Resolves when the reader keeps up; one that does not read is left. */
  async send(data: object | '[DONE]'): Promise<void> {
    const { raw } = this;
    if (raw.destroyed || raw.writableEnded) return;
    if (raw.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`)) return;
    await new Promise<void>((resolve) => {
      const late = setTimeout(() => raw.destroy(), 1000 * this.seconds);
      const done = () => {
        clearTimeout(late);
        raw.off('drain', done);
        raw.off('close', done);
        resolve();
      };
      raw.once('drain', done);
      raw.once('close', done);
    });
  }

  end(): void {
    this.raw.end();
  }
}

import { randomUUID } from 'node:crypto';
import type { FastifyReply } from 'fastify';
import type { Asked } from './asked';
import { EventStream } from './events';
import { refusalOf } from './refusal';
import type { Service } from './service';
import type { Piece } from './writer';

/** What every reply to a completion begins with. */
export const head = (kind: string, prefix: string, model: string) => ({
  id: `${prefix}-${randomUUID().replaceAll('-', '')}`,
  object: kind,
  created: Math.floor(Date.now() / 1000),
  model,
});

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** Pieces of the same answer that came together, as one. */
function joined(pieces: Piece[]): Piece[] {
  const all: Piece[] = [];
  const last = new Map<number, Piece>();
  for (const piece of pieces) {
    const before = last.get(piece.index);
    if (before) {
      before.text += piece.text;
      before.tokens.push(...piece.tokens);
      before.scores.push(...piece.scores);
      before.finish_reason = piece.finish_reason;
    } else {
      all.push(piece);
      last.set(piece.index, piece);
    }
  }
  return all;
}

/** A completion between the batch and its client: counted, and given up when the client leaves. */
export class Exchange {
  private completion = 0;
  private readonly began = performance.now();

  constructor(
    private readonly service: Service,
    private readonly asked: Asked,
    private readonly reply: FastifyReply,
  ) {
    const left = () => {
      if (reply.raw.writableFinished) return;
      service.stats.left();
      asked.cancel();
    };
    // Its client may have left while adapters were waited for.
    if (reply.raw.closed || reply.raw.destroyed) left();
    else reply.raw.once('close', left);
    service.stats.read(this.promptTokens);
  }

  private get promptTokens(): number {
    return this.asked.prompts.reduce((n, { length }) => n + length, 0);
  }

  get usage(): Usage {
    const [prompt_tokens, completion_tokens] = [this.promptTokens, this.completion];
    return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
  }

  private async *pieces(): AsyncGenerator<Piece> {
    for (;;) {
      const pieces = await this.asked.channel.take();
      if (!pieces) return;
      for (const piece of joined(pieces)) {
        if (!this.completion && piece.tokens.length) this.service.stats.began((performance.now() - this.began) / 1000);
        this.completion += piece.tokens.length;
        this.service.stats.wrote(piece.tokens.length);
        yield piece;
      }
    }
  }

  /** Waits for all of it; what each answer came to, in order. */
  async whole(): Promise<Required<Piece>[]> {
    const all: Required<Piece>[] = [];
    for await (const { index, text, tokens, scores, finish_reason } of this.pieces()) {
      all[index] ??= { index, text: '', tokens: [], scores: [], finish_reason: 'length' };
      const one = all[index];
      one.text += text;
      for (const token of tokens) one.tokens.push(token);
      for (const score of scores) one.scores.push(score);
      if (finish_reason) one.finish_reason = finish_reason;
    }
    return all;
  }

  /** Sends it as it comes: `chunk` makes of a piece what is sent, `last` is sent when there is no more. */
  async stream(begin: object[], chunk: (piece: Piece) => object[], last: () => object[]): Promise<void> {
    const events = new EventStream(this.reply, this.service.options.io_timeout);
    try {
      for (const data of begin) await events.send(data);
      for await (const piece of this.pieces()) for (const data of chunk(piece)) await events.send(data);
      for (const data of last()) await events.send(data);
      await events.send('[DONE]');
    } catch (error) {
      await events.send(refusalOf(error).body);
    } finally {
      events.end();
    }
  }
}

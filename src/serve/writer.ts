import type { Answer } from '../generate/answer';
import type { Channel } from './channel';
import { type Scores, scoresOf } from './logprobs';
import type { Written } from './written';

/** A piece of an answer: text, and the tokens behind it. */
export interface Piece {
  /** Which answer of its request. */
  index: number;
  text: string;
  tokens: number[];
  /** Of these tokens, where they are asked for. */
  scores: Scores[];
  /** With the last piece. */
  finish_reason?: 'stop' | 'length';
}

/** What an answer is written by, beside its own rules. */
export interface How {
  index: number;
  /** How many of the likeliest tokens are given with each token's log-probability; undefined: none of these. */
  logprobs?: number;
  bias: readonly (readonly [id: number, amount: number])[];
  /** Whether no token is asked for. */
  nothing?: boolean;
}

/** One answer on its way from logits to its reader. */
export class Writer {
  /** Why it is over. */
  finish_reason?: 'stop' | 'length';
  private tokens: number[] = [];
  private scores: Scores[] = [];

  constructor(
    private readonly answer: Answer,
    private readonly written: Written,
    private readonly to: Channel<Piece>,
    private readonly how: How,
  ) {
    if (how.nothing) this.finish_reason = 'length';
  }

  /** Whether the likeliest token is all that it needs to know. */
  get isFree(): boolean {
    return this.answer.isFree && this.how.logprobs === undefined && !this.how.bias.length;
  }

  /** The token that the model has not read yet. */
  get last(): number {
    return this.answer.tokens.at(-1) as number;
  }

  /** Writes the next token, of logits [vocabulary], which are changed, or the likeliest token. */
  next(logits: Float32Array | number): void {
    const { answer, how } = this;
    if (typeof logits === 'number') answer.append(logits);
    else {
      const raw = how.logprobs === undefined ? undefined : logits.slice();
      for (const [id, amount] of how.bias) if (id < logits.length) logits[id] += amount;
      const token = answer.take(logits);
      if (raw) this.scores.push(scoresOf(raw, token, how.logprobs as number));
    }
    this.tokens.push(this.last);
    this.tell();
  }

  private tell(): void {
    const { answer, written } = this;
    let text = answer.eos.has(this.last) ? '' : written.put(this.last);
    if (written.stop !== undefined) this.finish_reason = 'stop';
    else this.finish_reason = answer.finish_reason;
    if (this.finish_reason) text += written.end();
    // The last token may complete a stop string too.
    if (written.stop !== undefined) this.finish_reason = 'stop';
    if (!text && !this.finish_reason && !this.scores.length) return;
    this.give(text);
  }

  private give(text: string): void {
    const { tokens, scores, finish_reason } = this;
    [this.tokens, this.scores] = [[], []];
    this.to.push({ index: this.how.index, text, tokens, scores, finish_reason });
  }

  /** Where nothing is written, its reader is told so when the prompt has been read. */
  begun(): void {
    if (this.how.nothing) this.give('');
  }
}

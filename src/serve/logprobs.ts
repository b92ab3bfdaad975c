import { largest, logTotal } from '../generate/logits';
import type { Tokenizer } from '../tokenizers/tokenizer';

/** A token with the logarithm of its probability. */
export interface Scored {
  id: number;
  logprob: number;
}

/** A token that was written, and the likeliest ones at its place, the likeliest first. */
export interface Scores extends Scored {
  top: Scored[];
}

/** Of a row of logits [vocabulary] the log-probabilities of a token and of the `count` likeliest ones. */
export function scoresOf(logits: Float32Array, id: number, count: number): Scores {
  const all = logTotal(logits);
  return { id, logprob: logits[id] - all, top: largest(logits, count).map((top) => ({ id: top, logprob: logits[top] - all })) };
}

/** A token's text and bytes; of a part of a character OpenAI's 'bytes:\xe2\x80'. */
export function tokenText(tokenizer: Tokenizer, id: number): { token: string; bytes: number[] } {
  const text = tokenizer.decode([id]);
  const piece = tokenizer.convert_ids_to_tokens(id) ?? '';
  if (!text.includes('\ufffd')) {
    // A piece that begins a word loses its space when it is decoded alone.
    const token = piece.startsWith('\u2581') && !text.startsWith(' ') ? ` ${text}` : text;
    return { token, bytes: [...Buffer.from(token)] };
  }
  const bytes = [...(tokenizer.bytesOf(id) ?? [])];
  return { token: `bytes:${bytes.map((b) => `\\x${b.toString(16).padStart(2, '0')}`).join('')}`, bytes };
}

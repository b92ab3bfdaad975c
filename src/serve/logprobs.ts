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
  let most = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > most) most = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  const all = most + Math.log(sum);
  return { id, logprob: logits[id] - all, top: likeliest(logits, count).map((top) => ({ id: top, logprob: logits[top] - all })) };
}

/** The ids of the largest values; of equal ones those that come first. */
function likeliest(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  for (let id = 0; count > 0 && id < values.length; id++) {
    if (best.length === count && values[id] <= values[best[count - 1]]) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]] < values[id]) at--;
    best.splice(at, 0, id);
    if (best.length > count) best.pop();
  }
  return best;
}

const alphabet = new Map<string, number>();
/** GPT-2's visible characters for the 256 bytes. */
function byteOf(character: string): number | undefined {
  if (!alphabet.size) {
    const visible = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    let extra = 256;
    for (let b = 0; b < 256; b++) alphabet.set(String.fromCodePoint(visible(b) ? b : extra++), b);
  }
  return alphabet.get(character);
}

/** The bytes of a token that is part of a character. */
function partBytes(piece: string): number[] {
  const one = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece);
  return one ? [Number.parseInt(one[1], 16)] : [...piece].flatMap((character) => byteOf(character) ?? [...Buffer.from(character)]);
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
  const bytes = partBytes(piece);
  return { token: `bytes:${bytes.map((b) => `\\x${b.toString(16).padStart(2, '0')}`).join('')}`, bytes };
}

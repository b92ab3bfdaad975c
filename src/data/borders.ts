import type { Tokenizer } from '../tokenizers/tokenizer';
import type { Span } from './spans';

/** A place in a text where a token begins, whatever stands before it. */
interface Anchor {
  at: number;
  token: number;
  /** Characters of the added token there. */
  length: number;
}

/** A pattern that finds any of some tokens, the longest where several would fit; what it finds is its first group. */
export function anyOf(tokens: Iterable<string>): RegExp {
  const longestFirst = [...new Set(tokens)].filter(Boolean).sort((a, b) => b.length - a.length);
  return new RegExp(`(${longestFirst.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|') || '(?!)'})`, 'g');
}

const added = new WeakMap<Tokenizer, RegExp>();

/** A pattern that finds a tokenizer's added tokens. Some have thousands. */
export function addedTokens(tokenizer: Tokenizer): RegExp {
  const pattern = added.get(tokenizer) ?? anyOf(tokenizer.added_tokens_encoder.keys());
  added.set(tokenizer, pattern);
  return pattern;
}

/** The beginning of a text and its added tokens, which split it before all else. */
function anchorsOf(text: string, ids: number[], tokenizer: Tokenizer): Anchor[] {
  const first = { at: 0, token: 0, length: 0 };
  const idOf = tokenizer.added_tokens_encoder;
  const known = new Set(idOf.values());
  const places = ids.flatMap((id, i) => (known.has(id) ? [i] : []));
  const found = [...text.matchAll(addedTokens(tokenizer))];
  // Some tokenizers find them elsewhere (within words, in normalized text): then the text is taken from its beginning.
  if (found.length !== places.length || found.some(([token], i) => idOf.get(token) !== ids[places[i]])) return [first];
  return [first, ...found.map(({ 0: token, index }, i) => ({ at: index, token: places[i], length: token.length }))];
}

/** Which tokens of a text, encoded without special tokens around it, have a character in one of the spans, as in transformers. */
export function tokensIn(text: string, ids: number[], spans: Span[], tokenizer: Tokenizer): boolean[] {
  const anchors = anchorsOf(text, ids, tokenizer);
  /** Tokens that end at or before character `at`, and whether the next one reaches across it. */
  const before = (at: number): { whole: number; across: boolean } => {
    if (at >= text.length) return { whole: ids.length, across: false };
    const anchor = anchors.findLast((one) => one.at + one.length <= at) as Anchor;
    const own = anchor.length ? 1 : 0;
    if (anchor.at + anchor.length === at) return { whole: anchor.token + own, across: false };
    const head = tokenizer.encode(text.slice(anchor.at, at), { add_special_tokens: false });
    let same = 0;
    while (same < head.length && head[same] === ids[anchor.token + same]) same++;
    if (same === head.length) return { whole: anchor.token + same, across: false };
    // What follows changed the tokens before it: count characters from the last token that is the same.
    const start = anchor.token + same;
    const left = tokenizer.decode(head.slice(same)).length;
    const reached = (to: number) => tokenizer.decode(ids.slice(start, to)).length;
    let whole = start;
    while (whole < ids.length && reached(whole + 1) <= left) whole++;
    return { whole, across: reached(whole) < left };
  };
  const inside = Array<boolean>(ids.length).fill(false);
  for (const [from, to] of spans) {
    if (from >= to) continue;
    const end = before(to);
    inside.fill(true, before(from).whole, end.whole + (end.across ? 1 : 0));
  }
  return inside;
}

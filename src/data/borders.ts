import type { Tokenizer } from '../tokenizers/tokenizer';
import type { Span } from './spans';

/** Tokens of `ids`, those of `text`, that end at or before character `at`, and whether the next one reaches across it. */
function tokensBefore(text: string, ids: number[], at: number, tokenizer: Tokenizer): { whole: number; across: boolean } {
  if (at <= 0) return { whole: 0, across: false };
  if (at >= text.length) return { whole: ids.length, across: false };
  const head = tokenizer.encode(text.slice(0, at), { add_special_tokens: false });
  let same = 0;
  while (same < head.length && head[same] === ids[same]) same++;
  if (same === head.length) return { whole: same, across: false };
  // What follows changed the tokens before it: count characters from the last token that is the same.
  const left = tokenizer.decode(head.slice(same)).length;
  const reached = (to: number) => tokenizer.decode(ids.slice(same, to)).length;
  let whole = same;
  while (whole < ids.length && reached(whole + 1) <= left) whole++;
  return { whole, across: reached(whole) < left };
}

/** Which tokens of a text, encoded without special tokens around it, have a character in one of the spans, as in transformers. */
export function tokensIn(text: string, ids: number[], spans: Span[], tokenizer: Tokenizer): boolean[] {
  const inside = Array<boolean>(ids.length).fill(false);
  for (const [from, to] of spans) {
    if (from >= to) continue;
    const end = tokensBefore(text, ids, to, tokenizer);
    inside.fill(true, tokensBefore(text, ids, from, tokenizer).whole, end.whole + (end.across ? 1 : 0));
  }
  return inside;
}

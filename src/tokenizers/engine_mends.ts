import { byClusters, byLongest, readCharsmap } from './charsmap';
import type { HubDecoder, HubModel, HubNormalizer, HubPreTokenizer, Part } from './engine';

// Where @huggingface/tokenizers does not compute what the Rust original does: its parts are written in words in which it does, or get
// the function that does.

/** The split of GPT-2, which a ByteLevel pre-tokenizer makes by itself. */
const GPT2_SPLIT = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
export const split = (regex: string): Part => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false });

/** Letters that match s and k where case is ignored, beyond ASCII: the long s and the Kelvin sign. */
const FOLDED: Record<string, string> = { s: '[sS\u017f]', k: '[kK\u212a]' };
const foldCase = (regex: string) =>
  regex.replace(/\(\?i:((?:[\w'|]|\[\w+\])+)\)/g, (_, body: string) => {
    const letters = body.replace(/\[(\w+)\]|[a-z]/gi, (found, list?: string) =>
      list ? `(?:${[...list].map(either).join('|')})` : either(found),
    );
    return `(?:${letters})`;
  });
const either = (letter: string) => FOLDED[letter.toLowerCase()] ?? `[${letter.toLowerCase()}${letter.toUpperCase()}]`;

const PUNCTUATION = String.raw`[\p{P}!-/:-@\[-\x60{-~]`;
const sequence = (...pretokenizers: Part[]): Part => ({ type: 'Sequence', pretokenizers });

/**
 * A pre-tokenizer in words that the package splits right. Its ByteLevel, Digits, Whitespace and Punctuation go by JavaScript's \s (which
 * has U+FEFF and lacks U+0085) and ASCII's digits and words, its Metaspace does not split, and its (?i:...) knows ASCII only.
 */
export function preTokenizer(part: Part): Part {
  switch (part.type) {
    case 'Sequence':
      return sequence(...(part.pretokenizers as Part[]).map(preTokenizer));
    case 'ByteLevel': {
      if (part.use_regex === false) return part;
      const parts = [split(GPT2_SPLIT), { ...part, add_prefix_space: false, use_regex: false }];
      return part.add_prefix_space ? sequence({ ...split(' '), behavior: 'Prefix' }, ...parts) : sequence(...parts);
    }
    case 'Digits':
      return split(part.individual_digits ? String.raw`\p{N}` : String.raw`\p{N}+`);
    case 'Punctuation':
      return { ...split(PUNCTUATION), behavior: part.behavior ?? 'Isolated' };
    case 'Whitespace':
      return { ...split(String.raw`\w+|[^\w\s]+`), behavior: 'Removed', invert: true };
    case 'WhitespaceSplit':
      return { ...split(String.raw`\s+`), behavior: 'Removed' };
    case 'BertPreTokenizer':
      return sequence({ ...split(String.raw`\s`), behavior: 'Removed' }, split(PUNCTUATION));
    case 'Metaspace': {
      const mark = (part.replacement as string | undefined) ?? '\u2581';
      return part.split === false ? part : sequence(part, split(`${mark}?[^${mark}]+|${mark}`));
    }
    case 'Split': {
      const { Regex: regex } = part.pattern as { Regex?: string };
      return regex === undefined ? part : { ...part, pattern: { Regex: foldCase(regex) } };
    }
    default:
      return part;
  }
}

/** Characters that Bert's normalizer puts apart. */
const CHINESE = String.raw`[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]`;

/** A normalizer likewise: the package's Strip goes by JavaScript's white space, and its BertNormalizer knows no characters beyond U+FFFF. */
export function normalizer(part: Part): Part {
  const strip = (regex: string) => ({ type: 'Replace', pattern: { Regex: regex }, content: '' });
  if (part.type === 'Sequence') return { ...part, normalizers: (part.normalizers as Part[]).map(normalizer) };
  if (part.type === 'BertNormalizer' && part.handle_chinese_chars !== false) {
    const { clean_text = true, strip_accents, lowercase = true } = part;
    const only = (what: object) => ({
      ...{ type: 'BertNormalizer', clean_text: false, handle_chinese_chars: false, strip_accents: false, lowercase: false },
      ...what,
    });
    const apart = { type: 'Replace', pattern: { Regex: CHINESE }, content: ' $& ' };
    return { type: 'Sequence', normalizers: [only({ clean_text }), apart, only({ strip_accents: strip_accents ?? lowercase, lowercase })] };
  }
  if (part.type !== 'Strip') return part;
  const ends = [part.strip_left && strip(String.raw`\A\s+`), part.strip_right && strip(String.raw`\s+\z`)].filter(Boolean);
  return { type: 'Sequence', normalizers: ends };
}

/** The package guesses what a table of characters holds. `longest`: of our own, for SentencePiece's files. */
export function mendNormalizer(normalizer: HubNormalizer | null): void {
  const { type, precompiled_charsmap: table, longest }: Partial<Part> = normalizer?.config ?? {};
  if (normalizer && type === 'Precompiled' && typeof table === 'string')
    normalizer.normalize = (longest ? byLongest : byClusters)(readCharsmap(Buffer.from(table, 'base64')));
  normalizer?.normalizers?.forEach(mendNormalizer);
}

/** What becomes of the pieces that a pattern matches and of those between them. */
type Behavior = 'Isolated' | 'Removed' | 'Contiguous' | 'MergedWithPrevious' | 'MergedWithNext' | 'Prefix';

function splitBy(text: string, pattern: RegExp, behavior: Behavior, invert: boolean): string[] {
  if (behavior === 'Prefix') return [text.startsWith(' ') ? text : ` ${text}`];
  const pieces: { text: string; hit: boolean }[] = [];
  const push = (from: number, to: number, hit: boolean) => {
    if (to > from) pieces.push({ text: text.slice(from, to), hit: hit !== invert });
  };
  let at = 0;
  for (const { index, 0: found } of text.matchAll(pattern)) {
    push(at, index, false);
    push(index, index + found.length, true);
    at = index + found.length;
  }
  push(at, text.length, false);
  const merged: typeof pieces = [];
  const mergeIf = (joins: (last: { hit: boolean }, next: { hit: boolean }) => boolean) => {
    let last: { hit: boolean } | undefined;
    for (const piece of pieces) {
      if (last && joins(last, piece)) merged[merged.length - 1].text += piece.text;
      else merged.push({ ...piece });
      last = piece;
    }
    return merged.map((piece) => piece.text);
  };
  if (behavior === 'Contiguous') return mergeIf((last, next) => last.hit === next.hit);
  if (behavior === 'MergedWithPrevious') return mergeIf((last, next) => next.hit && !last.hit);
  if (behavior === 'MergedWithNext') return mergeIf((last, next) => last.hit && !next.hit);
  return pieces.filter(({ hit }) => behavior !== 'Removed' || !hit).map((piece) => piece.text);
}

/** The package's Split isolates what matches, whatever else it is told. */
export function mendPreTokenizer(pre: HubPreTokenizer | null): void {
  const { behavior, invert }: Partial<Part> = pre?.config ?? {};
  if (pre?.pattern && behavior && (behavior !== 'Isolated' || invert)) {
    const pattern = pre.pattern;
    pre.pre_tokenize_text = (text) => splitBy(text, pattern, behavior as Behavior, invert === true);
  }
  pre?.tokenizers?.forEach(mendPreTokenizer);
}

/** GPT-2's visible characters for bytes. */
const BYTES = new Map<string, number>();
for (let byte = 0, extra = 256; byte < 256; byte++) {
  const visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  BYTES.set(String.fromCodePoint(visible ? byte : extra++), byte);
}
const utf8 = (bytes: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

/** The bytes that a token of a byte-level vocabulary stands for. */
export function bytesOf(token: string): Uint8Array {
  const bytes = Array.from(token, (c) => BYTES.get(c));
  return bytes.includes(undefined) ? Buffer.from(token) : Uint8Array.from(bytes as number[]);
}

/** Runs of <0x..> tokens as the characters they spell; where they spell none, a replacement sign for each. */
function joinBytes(tokens: string[]): string[] {
  const joined: string[] = [];
  let run: number[] = [];
  const flush = () => {
    if (!run.length) return;
    const bytes = Uint8Array.from(run);
    const text = utf8(bytes);
    joined.push(Buffer.from(text).equals(bytes) ? text : '\ufffd'.repeat(run.length));
    run = [];
  };
  for (const token of tokens) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    if (byte) run.push(Number.parseInt(byte[1], 16));
    else {
      flush();
      joined.push(token);
    }
  }
  flush();
  return joined;
}

/** Decoders that differ from the Rust original in the package: on added tokens, broken bytes, byte order marks and leading spaces. */
const DECODERS: Record<string, (tokens: string[], config: Part) => string[]> = {
  ByteLevel: (tokens) => [utf8(Buffer.concat(tokens.map(bytesOf)))],
  ByteFallback: joinBytes,
  Metaspace: (tokens, { replacement = '\u2581', prepend_scheme }) =>
    tokens.map((token, i) => token.replaceAll(replacement as string, i || prepend_scheme === 'never' ? ' ' : '')),
};
export function mendDecoder(decoder: HubDecoder | null): void {
  if (!decoder) return;
  const mended = DECODERS[decoder.config.type];
  if (mended) decoder.decode_chain = (tokens) => mended(tokens, decoder.config);
  decoder.decoders?.forEach(mendDecoder);
}

/**
 * The most probable pieces of a text, of equal ones those that the Rust original takes: it compares sums up to a place, where the package
 * adds the next piece to them first.
 */
export function mendUnigram(model: HubModel): void {
  const { scores, trie, unk_score = 0, unk_token_id: unknown, tokens_to_ids: ids } = model;
  const inBytes = (piece: string) => Array.from(Buffer.from(piece), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const fallsBack = model.config?.byte_fallback === true;
  if (!scores || !trie) return;
  model.tokenize = (text) => {
    const chars = Array.from(text);
    const best: ({ from: number; score: number; id?: number } | undefined)[] = [{ from: 0, score: 0 }];
    for (let from = 0; from < chars.length; from++) {
      const offer = (to: number, score: number, id?: number) => {
        const total = score + (best[from]?.score ?? 0);
        if (!best[to] || total > best[to].score) best[to] = { from, score: total, id };
      };
      let single = false;
      for (const piece of trie.common_prefix_search(chars, from)) {
        const [id, length] = [ids.get(piece) as number, Array.from(piece).length];
        offer(from + length, scores[id], id);
        single ||= length === 1;
      }
      if (!single) offer(from + 1, unk_score, unknown);
    }
    const pieces: string[] = [];
    let last: number | undefined;
    for (let to = chars.length; to > 0; ) {
      const { from, id } = best[to] as { from: number; id?: number };
      const piece = chars.slice(from, to).join('');
      if (id === unknown && last === unknown && pieces.length) pieces.push(piece + pieces.pop());
      else pieces.push(piece);
      [to, last] = [from, id];
    }
    pieces.reverse();
    if (!fallsBack) return pieces;
    return pieces.flatMap((piece) => {
      const bytes = ids.has(piece) ? [] : inBytes(piece);
      return bytes.length && bytes.every((byte) => ids.has(byte)) ? bytes : piece;
    });
  };
}

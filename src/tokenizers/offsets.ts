import { OptionError } from '../core/errors';
import type { AddedToken, Part, TokenizerJson } from './engine';
import { bytesOf } from './engine_mends';

/** From where to where something stands in a text, in JavaScript's characters. */
export type Offset = [from: number, to: number];
/** A character that the tokenizer has made of a text, with where it comes from. */
interface Made {
  text: string;
  at: Offset;
}

const all = (part: Part | null | undefined, key: string): Part[] =>
  !part ? [] : part.type === 'Sequence' ? (part[key] as Part[]).flatMap((one) => all(one, key)) : [part];

/** Normalizers whose characters can be traced: what they make of a stretch of them. */
const NORMALIZERS: Record<string, (chars: Made[], part: Part) => Made[]> = {
  NFC: (chars) => clusters(chars, 'NFC'),
  NFD: (chars) => clusters(chars, 'NFD'),
  NFKC: (chars) => clusters(chars, 'NFKC'),
  NFKD: (chars) => clusters(chars, 'NFKD'),
  Lowercase: (chars) => chars.flatMap(({ text, at }) => Array.from(text.toLowerCase(), (c) => ({ text: c, at }))),
  Prepend: (chars, { prepend }) => before(chars, prepend as string),
  Replace: (chars, { pattern, content }) => replaced(chars, pattern as { String?: string; Regex?: string }, content as string),
};

/** What is put before a text stands where its first character does. */
const before = (chars: Made[], text: string): Made[] => (chars.length ? [{ text, at: chars[0].at }, ...chars] : []);

/** Normal forms join a character with the marks behind it. */
function clusters(chars: Made[], form: string): Made[] {
  const groups: Made[][] = [];
  for (const char of chars) {
    const last = groups.at(-1);
    const joined = last && [...last, char].map(({ text }) => text).join('');
    const parts =
      last &&
      last
        .map(({ text }) => text)
        .join('')
        .normalize(form) + char.text.normalize(form);
    if (last && (/^\p{M}/u.test(char.text) || joined?.normalize(form) !== parts)) last.push(char);
    else groups.push([char]);
  }
  return groups.flatMap((group) => {
    const text = group.map((one) => one.text).join('');
    const normal = text.normalize(form);
    if (normal === text) return group;
    const at: Offset = [group[0].at[0], (group.at(-1) as Made).at[1]];
    return Array.from(normal, (c) => ({ text: c, at }));
  });
}

function replaced(chars: Made[], { String: literal, Regex: regex }: { String?: string; Regex?: string }, content: string): Made[] {
  const pattern = literal === undefined ? new RegExp(regex as string, 'gu') : undefined;
  const text = chars.map((one) => one.text).join('');
  const starts = new Map<number, number>();
  let length = 0;
  for (const [i, one] of chars.entries()) {
    starts.set(length, i);
    length += one.text.length;
  }
  starts.set(length, chars.length);
  const hits = pattern ? [...text.matchAll(pattern)].map((m) => [m.index, m[0].length]) : [];
  if (literal)
    for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) hits.push([at, literal.length]);
  const made: Made[] = [];
  let next = 0;
  for (const [at, size] of hits) {
    const [from, to] = [starts.get(at) as number, starts.get(at + size) as number];
    made.push(...chars.slice(next, from));
    if (content && to > from) made.push({ text: content, at: [chars[from].at[0], chars[to - 1].at[1]] });
    next = to;
  }
  return [...made, ...chars.slice(next)];
}

/** The characters of a stretch of text between added tokens, as the model sees them. */
function normalized(json: TokenizerJson, text: string, from: number): Made[] {
  let at = from;
  let chars: Made[] = Array.from(text, (char) => {
    const place: Offset = [at, at + char.length];
    at += char.length;
    return { text: char, at: place };
  });
  for (const part of all(json.normalizer, 'normalizers')) {
    const make = NORMALIZERS[part.type];
    if (!make)
      throw new OptionError(
        `return_offsets_mapping: where characters stand is not traced through this tokenizer's normalizer ${part.type}.`,
      );
    chars = make(chars, part);
  }
  for (const part of all(json.pre_tokenizer, 'pretokenizers')) {
    if (part.type === 'Metaspace') {
      const mark = (part.replacement as string) ?? '\u2581';
      chars = chars.map((one) => (one.text === ' ' ? { ...one, text: mark } : one));
      const first = part.prepend_scheme === 'always' || (part.prepend_scheme === 'first' && from === 0) || part.add_prefix_space === true;
      if (first && part.prepend_scheme !== 'never' && chars[0]?.text !== mark) chars = before(chars, mark);
    } else if (part.type === 'ByteLevel' && part.add_prefix_space && chars[0]?.text !== ' ') chars = before(chars, ' ');
  }
  return chars;
}

export const isByteLevel = ({ pre_tokenizer, decoder }: TokenizerJson) =>
  [...all(pre_tokenizer, 'pretokenizers'), ...all(decoder, 'decoders')].some(({ type }) => type === 'ByteLevel');

/** Where each of the tokens of a text stands; a part of a character stands where it does. `tokens`: without those put around the text. */
export function offsetsOf(json: TokenizerJson, text: string, tokens: string[]): Offset[] {
  const added = new Map((json.added_tokens ?? []).map((token) => [token.content, token]));
  const trims = all(json.post_processor, 'processors').some(({ type, trim_offsets }) => type === 'ByteLevel' && trim_offsets !== false);
  const byteLevel = isByteLevel(json);
  const offsets: Offset[] = [];
  let at = 0;
  let stretch: string[] = [];
  const flush = (to: number) => {
    offsets.push(...placed(normalized(json, text.slice(at, to), at), stretch, byteLevel, [at, to]));
    stretch = [];
  };
  for (const token of tokens) {
    const own = added.get(token);
    const place = own ? placeOf(text, own, at) : undefined;
    if (!own || !place) {
      stretch.push(token);
      continue;
    }
    flush(place[0]);
    offsets.push(place);
    at = place[1];
  }
  flush(text.length);
  return trims ? offsets.map(([from, to]) => trimmed(text, from, to)) : offsets;
}

/** Where an added token stands next, with the white space that it takes. */
function placeOf(text: string, { content, lstrip, rstrip }: AddedToken, after: number): Offset | undefined {
  let from = text.indexOf(content, after);
  if (from < 0) return undefined;
  let to = from + content.length;
  if (lstrip) while (from > after && /\s/.test(text[from - 1])) from--;
  if (rstrip) while (to < text.length && /\s/.test(text[to])) to++;
  return [from, to];
}

function trimmed(text: string, from: number, to: number): Offset {
  const piece = text.slice(from, to);
  const left = piece.length - piece.trimStart().length;
  const right = piece.length - piece.trimEnd().length;
  return left === piece.length ? [to, to] : [from + left, to - right];
}

/** The tokens of a stretch over its characters' bytes. */
function placed(chars: Made[], tokens: string[], byteLevel: boolean, [from, to]: Offset): Offset[] {
  const units: { byte: number; at: Offset }[] = chars.flatMap(({ text, at }) => [...Buffer.from(text)].map((byte) => ({ byte, at })));
  const bytes = Buffer.from(units.map(({ byte }) => byte));
  const own = tokens.map((token) => {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    return byteLevel ? Buffer.from(bytesOf(token)) : byte ? Buffer.from([Number.parseInt(byte[1], 16)]) : Buffer.from(token);
  });
  let next = 0;
  return own.map((piece, i) => {
    let start = next;
    let end = start + piece.length;
    if (!bytes.subarray(start, end).equals(piece)) {
      // An unknown token stands for all up to where the next one is found.
      const known = own[i + 1] ? bytes.indexOf(own[i + 1], start + 1) : bytes.length;
      [start, end] = [next, known < 0 ? bytes.length : known];
    }
    next = end;
    return end > start ? [units[start].at[0], units[end - 1].at[1]] : [Math.min(from, to), Math.min(from, to)];
  });
}

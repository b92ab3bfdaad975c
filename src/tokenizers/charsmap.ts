import { FileError } from '../core/errors';

/** What a stretch of bytes becomes, and how many bytes of it are meant. */
type Match = { length: number; text: string };
/** The beginnings of bytes that a table has something for, the shortest first. */
export type Charsmap = (bytes: Uint8Array, from: number) => Match[];

const utf8 = new TextDecoder();

/**
 * A precompiled table of characters as SentencePiece has it: a double array of a trie (darts-clone; 4 bytes its size, then units of 4
 * bytes), and behind it texts that end with a 0, at which the trie's values point.
 */
export function readCharsmap(table: Uint8Array): Charsmap {
  const copy = Uint8Array.from(table); // on a border of 4 bytes
  const size = copy.length >= 4 ? new DataView(copy.buffer).getUint32(0, true) : Number.NaN;
  if (!(size % 4 === 0 && size > 0 && size <= copy.length - 4))
    throw new FileError(
      `The tokenizer's table of characters (precompiled_charsmap) is damaged: ${copy.length} bytes, of which ${size} are a trie.`,
    );
  const units = new Uint32Array(copy.buffer, 4, size / 4);
  const texts = copy.subarray(4 + size);
  const textAt = (at: number) => {
    const end = texts.indexOf(0, at);
    return utf8.decode(texts.subarray(at, end < 0 ? texts.length : end));
  };
  const childrenOf = (unit: number) => (unit >>> 10) << ((unit & 512) >>> 6);
  return (bytes, from) => {
    const found: Match[] = [];
    let node = childrenOf(units[0]);
    for (let at = from; at < bytes.length; at++) {
      node ^= bytes[at];
      const unit = units[node];
      // Beyond the array there is no unit.
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== bytes[at]) break;
      node ^= childrenOf(unit);
      if (unit & 256) found.push({ length: at + 1 - from, text: textAt((units[node] ?? 0) & 0x7fffffff) });
    }
    return found;
  };
}

/** Text by a table as SentencePiece takes it: at each place the longest beginning that the table has. */
export function byLongest(charsmap: Charsmap): (text: string) => string {
  return (text) => {
    const bytes = Buffer.from(text);
    let made = '';
    for (let at = 0; at < bytes.length; ) {
      const longest = charsmap(bytes, at).at(-1);
      const length = longest?.length ?? lengthOf(bytes[at]);
      made += longest?.text ?? utf8Part(bytes, at, length);
      at += length;
    }
    return made;
  };
}

const lengthOf = (lead: number) => (lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
const utf8Part = (bytes: Buffer, from: number, length: number) => bytes.toString('utf8', from, from + length);
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/**
 * Text by a table as Rust's tokenizers take it: a cluster of fewer than 6 bytes as a whole becomes what its shortest beginning does; of
 * others, and of those that begin with nothing in the table, each character for itself.
 */
export function byClusters(charsmap: Charsmap): (text: string) => string {
  const of = (part: string) => charsmap(Buffer.from(part), 0)[0]?.text;
  return (text) => {
    let made = '';
    for (const { segment } of graphemes.segment(text))
      made += (Buffer.byteLength(segment) < 6 ? of(segment) : undefined) ?? Array.from(segment, (char) => of(char) ?? char).join('');
    return made;
  };
}

import { FileError } from '../core/errors';

/** What a piece of a SentencePiece vocabulary is. */
export const PIECE_TYPES = { NORMAL: 1, UNKNOWN: 2, CONTROL: 3, USER_DEFINED: 4, UNUSED: 5, BYTE: 6 };

export interface Piece {
  piece: string;
  /** A logarithm of a probability (Unigram), or minus the place among merges (BPE). */
  score: number;
  type: number;
}

/** A SentencePiece model (sentencepiece_model.proto), as far as text goes by it; names are the file's own. */
export interface SentencePieceModel {
  pieces: Piece[];
  model_type: 'unigram' | 'bpe' | 'word' | 'char';
  treat_whitespace_as_suffix: boolean;
  byte_fallback: boolean;
  /** -1 where there is none. */
  unk_id: number;
  bos_id: number;
  eos_id: number;
  pad_id: number;
  /** How characters are normalised: see charsmap.ts. Empty: they stay. */
  precompiled_charsmap: Uint8Array;
  add_dummy_prefix: boolean;
  remove_extra_whitespaces: boolean;
  escape_whitespaces: boolean;
}

const TYPES = ['unigram', 'bpe', 'word', 'char'] as const;

/** A field of a protobuf message: its number, and its value by how it is written. */
type Field = [number: number, value: number | Uint8Array];

/** The fields of a protobuf message (https://protobuf.dev/programming-guides/encoding), one after another. */
function* fields(bytes: Uint8Array, path: string): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (length: number) => {
    if (!(length <= bytes.length - at)) throw damaged(path, `a field of ${length} bytes at ${at} of ${bytes.length}`);
    at += length;
    return at - length;
  };
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[take(1)];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
    throw damaged(path, `a number of more than 64 bits at ${at}`);
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const [number, wire] = [Math.floor(key / 8), key & 7];
    if (wire === 0) yield [number, Number(varint())];
    else if (wire === 1) yield [number, view.getFloat64(take(8), true)];
    else if (wire === 2) {
      const length = Number(varint());
      if (length < 0) throw damaged(path, `a field of ${length} bytes at ${at}`);
      const from = take(length);
      yield [number, bytes.subarray(from, from + length)];
    } else if (wire === 5) yield [number, view.getFloat32(take(4), true)];
    else throw damaged(path, `a field of kind ${wire} at ${at}`);
  }
}

const damaged = (path: string, what: string) => new FileError(`${path} is no SentencePiece model, or a damaged one (${what}).`);

/** The fields of a message by number, each once: as in protobuf the last one counts. */
const last = (bytes: Uint8Array, path: string): Map<number, number | Uint8Array> => new Map(fields(bytes, path));

function numbersOf(message: Map<number, number | Uint8Array>, path: string) {
  return (field: number, otherwise: number): number => {
    const value = message.get(field) ?? otherwise;
    if (typeof value !== 'number') throw damaged(path, `field ${field} is a text where it should be a number`);
    return value;
  };
}

// A piece may be a byte order mark.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

function pieceOf(bytes: Uint8Array, path: string): Piece {
  const message = last(bytes, path);
  const number = numbersOf(message, path);
  const text = message.get(1);
  if (!(text instanceof Uint8Array)) throw damaged(path, 'a piece without its text');
  return { piece: utf8.decode(text), score: number(2, 0), type: number(3, PIECE_TYPES.NORMAL) };
}

/** What the bytes of a SentencePiece model (tokenizer.model, spiece.model) say; a FileError where they are none. */
export function parseSentencePiece(bytes: Uint8Array, path: string): SentencePieceModel {
  const pieces: Piece[] = [];
  let [trainer, normalizer]: Uint8Array[] = [new Uint8Array(), new Uint8Array()];
  for (const [field, value] of fields(bytes, path)) {
    if (!(value instanceof Uint8Array)) continue;
    if (field === 1) pieces.push(pieceOf(value, path));
    else if (field === 2) trainer = value;
    else if (field === 3) normalizer = value;
  }
  if (!pieces.length) throw damaged(path, 'it has no pieces');
  if (pieces.some(({ score }) => Number.isNaN(score))) throw damaged(path, 'a score that is not a number');
  const [spec, normal] = [last(trainer, path), last(normalizer, path)];
  const [number, rule] = [numbersOf(spec, path), numbersOf(normal, path)];
  const type = number(3, 1);
  if (!(type >= 1 && type <= 4)) throw damaged(path, `a model of type ${type}`);
  const charsmap = normal.get(2) ?? new Uint8Array();
  if (!(charsmap instanceof Uint8Array)) throw damaged(path, 'a table of characters that is a number');
  const idOf = (field: number, otherwise: number) => {
    const id = number(field, otherwise);
    return id >= 0 && id < pieces.length ? id : -1;
  };
  return {
    pieces,
    model_type: TYPES[type - 1],
    treat_whitespace_as_suffix: number(24, 0) !== 0,
    byte_fallback: number(35, 0) !== 0,
    ...{ unk_id: idOf(40, 0), bos_id: idOf(41, 1), eos_id: idOf(42, 2), pad_id: idOf(43, -1) },
    precompiled_charsmap: charsmap,
    add_dummy_prefix: rule(3, 1) !== 0,
    remove_extra_whitespaces: rule(4, 1) !== 0,
    escape_whitespaces: rule(5, 1) !== 0,
  };
}

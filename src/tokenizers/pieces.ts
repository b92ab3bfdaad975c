import { PIECE_TYPES } from '../formats/sentencepiece';
import type { AddedToken, Part } from './engine';

// What SentencePiece's vocabularies have in common, whatever file they come in.

/** SentencePiece's space. */
export const SPACE = '\u2581';
export const spacesToSigns: Part = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };

/** Pieces to text; `prefix`: texts got a space in front. */
export const piecesDecoder = (prefix: boolean): Part => ({
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ],
});

const addedToken = (id: number, content: string, special: boolean): AddedToken => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special,
});

/** Control tokens, which decoding may skip, and such as <think>, which are only never split. */
export function addedTokens(tokens: string[], types: number[]): AddedToken[] {
  return tokens.flatMap((content, id) => {
    const special = types[id] === PIECE_TYPES.CONTROL || types[id] === PIECE_TYPES.UNKNOWN;
    return special || types[id] === PIECE_TYPES.USER_DEFINED ? [addedToken(id, content, special)] : [];
  });
}

/**
 * The merges that a SentencePiece vocabulary stands for, best first: each piece from any two others, as transformers derives them.
 * `rank` orders the pieces. Of one rank older pieces come first, and of one piece pairs of older parts, as in the files that were
 * converted first (Llama, Mistral); with `longest` it is the longest left part, then the longest right one, as in later ones (Gemma).
 */
export function mergesOf(ids: Map<string, number>, rank: (id: number) => number, longest: boolean): [string, string][] {
  const byRank = new Map<number, { piece: string; id: number }[]>();
  for (const [piece, id] of ids) {
    const same = byRank.get(rank(id));
    if (same) same.push({ piece, id });
    else byRank.set(rank(id), [{ piece, id }]);
  }
  const pairsOf = ({ piece, id }: { piece: string; id: number }) => {
    const pairs: { pair: [string, string]; keys: number[] }[] = [];
    for (let at = 1; at < piece.length; at++) {
      const pair: [string, string] = [piece.slice(0, at), piece.slice(at)];
      const [left, right] = [ids.get(pair[0]), ids.get(pair[1])];
      if (left !== undefined && right !== undefined) pairs.push({ pair, keys: longest ? [-at, at - piece.length] : [id, left, right] });
    }
    return pairs;
  };
  const order = ({ keys: a }: { keys: number[] }, { keys: b }: { keys: number[] }) => {
    const at = a.findIndex((key, i) => key !== b[i]);
    return at < 0 ? 0 : a[at] - b[at];
  };
  const ranks = [...byRank.keys()].sort((a, b) => (a < b ? -1 : 1));
  return ranks.flatMap((one) =>
    (byRank.get(one) ?? [])
      .flatMap(pairsOf)
      .sort(order)
      .map(({ pair }) => pair),
  );
}

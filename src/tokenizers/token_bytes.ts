import type { TokenizerJson } from './engine';
import { bytesOf } from './engine_mends';
import { isByteLevel } from './offsets';

/** The bytes that a token of the vocabulary stands for within a text: as its decoder reads it there. */
export function tokenBytes(json: TokenizerJson, token: string): Uint8Array {
  if (isByteLevel(json)) return bytesOf(token);
  const byte = json.model.byte_fallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token) : undefined;
  if (byte) return Uint8Array.of(Number.parseInt(byte[1], 16));
  return Buffer.from(token.replaceAll('\u2581', ' '));
}

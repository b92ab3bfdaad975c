import { floatToHalf, halfToFloat } from '../formats/floats';
import { readFields, writeFields } from './fields';

/** Values in one of GGUF's older blocks. */
export const BLOCK = 32;

/** The fp16 number at byte `at`. */
export const halfAt = (bytes: Uint8Array, at: number): number => halfToFloat(bytes[at] | (bytes[at + 1] << 8));

export function writeHalf(bytes: Uint8Array, at: number, value: number): void {
  const half = floatToHalf(value);
  bytes[at] = half & 255;
  bytes[at + 1] = half >> 8;
}

/** Packs values in blocks of 32: `write(values, bytes, at)` one of them, to byte `at`. */
export function inBlocks(values: Float32Array, blockBytes: number, write: (x: Float32Array, bytes: Uint8Array, at: number) => void) {
  const bytes = new Uint8Array((values.length / BLOCK) * blockBytes);
  for (let b = 0, at = 0; b < values.length; b += BLOCK, at += blockBytes) write(values.subarray(b, b + BLOCK), bytes, at);
  return bytes;
}

/** The inverse of a scale in fp32, 0 for none. */
export const inverseOf = (scale: number): number => (scale ? Math.fround(1 / scale) : 0);

/** Value i of a block to the low nibble of byte i, value i + 16 to its high one. `code(i)` is a number from 0 to 15. */
export function writeNibbles(bytes: Uint8Array, at: number, code: (i: number) => number): void {
  for (let i = 0; i < BLOCK / 2; i++) bytes[at + i] = code(i) | (code(i + BLOCK / 2) << 4);
}

/** x + offset, which is not negative, as a code in [0, 15]: added in fp32, as llama.cpp's reference adds. */
export const nibble = (x: number, offset: number): number => Math.min(15, Math.trunc(Math.fround(x + offset)));

const NIBBLES = { bits: 4, wide: BLOCK / 2 };

/** A block's 32 codes of 5 bits: their high bits one after another, then the others in nibbles. */
export function readFives(bytes: Uint8Array, at: number): Uint8Array {
  const codes = new Uint8Array(BLOCK);
  readFields(bytes, at + 4, codes, NIBBLES);
  for (let i = 0; i < BLOCK; i++) codes[i] |= ((bytes[at + (i >> 3)] >> (i & 7)) & 1) << 4;
  return codes;
}

export function writeFives(bytes: Uint8Array, at: number, code: (i: number) => number): void {
  const codes = Uint8Array.from({ length: BLOCK }, (_, i) => code(i));
  for (let i = 0; i < BLOCK; i++) bytes[at + (i >> 3)] |= (codes[i] >> 4) << (i & 7);
  writeFields(codes, bytes, at + 4, NIBBLES);
}

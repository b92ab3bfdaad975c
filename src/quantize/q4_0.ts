import type { WeightFormat } from '../engine/weights';
import { halfAt, inBlocks, inverseOf, nibble, writeHalf, writeNibbles } from './ggml';

/**
 * GGUF's Q4_0: 32 values along a row in 18 bytes: fp16 scale d, then 16 bytes whose low nibbles are values 0-15 and whose high
 * nibbles are values 16-31. value = d * (nibble - 8). Packed as llama.cpp's reference packs: the value furthest from 0 becomes -8.
 */
export const q4_0: WeightFormat = {
  name: 'Q4_0',
  code: 2,
  block: 32,
  blockBytes: 18,
  halves: [0],
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 18) {
      const d = halfAt(bytes, at);
      for (let i = 0; i < 16; i++) {
        const byte = bytes[at + 2 + i];
        out[b + i] = d * ((byte & 15) - 8);
        out[b + 16 + i] = d * ((byte >> 4) - 8);
      }
    }
    return out;
  },
  encode: (values) =>
    inBlocks(values, 18, (x, bytes, at) => {
      const scale = x.reduce((furthest, value) => (Math.abs(value) > Math.abs(furthest) ? value : furthest)) / -8;
      const inverse = inverseOf(scale);
      writeHalf(bytes, at, scale);
      writeNibbles(bytes, at + 2, (i) => nibble(Math.fround(x[i] * inverse), 8.5));
    }),
};

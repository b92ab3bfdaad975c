import type { WeightFormat } from '../engine/weights';
import { halfAt, inBlocks, inverseOf, nibble, writeHalf, writeNibbles } from './ggml';

/**
 * GGUF's Q4_1: 32 values along a row in 20 bytes: fp16 scale d, fp16 minimum m, then 16 bytes whose low nibbles are values
 * 0-15 and whose high nibbles are values 16-31. value = d * nibble + m. Packed as llama.cpp's reference packs.
 */
export const q4_1: WeightFormat = {
  name: 'Q4_1',
  code: 3,
  block: 32,
  blockBytes: 20,
  halves: [0, 2],
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 20) {
      const [d, m] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
      for (let i = 0; i < 16; i++) {
        const byte = bytes[at + 4 + i];
        out[b + i] = d * (byte & 15) + m;
        out[b + 16 + i] = d * (byte >> 4) + m;
      }
    }
    return out;
  },
  encode: (values) =>
    inBlocks(values, 20, (x, bytes, at) => {
      const least = Math.min(...x);
      const scale = Math.fround(Math.fround(Math.max(...x) - least) / 15);
      const inverse = inverseOf(scale);
      writeHalf(bytes, at, scale);
      writeHalf(bytes, at + 2, least);
      writeNibbles(bytes, at + 4, (i) => nibble(Math.fround(Math.fround(x[i] - least) * inverse), 0.5));
    }),
};

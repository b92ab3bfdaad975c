import type { WeightFormat } from '../engine/weights';
import { halfAt, inBlocks, inverseOf, readFives, writeFives, writeHalf } from './ggml';

/**
 * GGUF's Q5_1: 32 values along a row in 24 bytes: fp16 scale d, fp16 minimum m, the codes' high bits, then their other four as Q4_1 has
 * them. value = d * code + m. Packed as llama.cpp's reference packs.
 */
export const q5_1: WeightFormat = {
  name: 'Q5_1',
  code: 7,
  block: 32,
  blockBytes: 24,
  halves: [0, 2],
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 24) {
      const [d, m] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
      readFives(bytes, at + 4).forEach((code, i) => {
        out[b + i] = d * code + m;
      });
    }
    return out;
  },
  encode: (values) =>
    inBlocks(values, 24, (x, bytes, at) => {
      const least = Math.min(...x);
      const scale = Math.fround(Math.fround(Math.max(...x) - least) / 31);
      const inverse = inverseOf(scale);
      writeHalf(bytes, at, scale);
      writeHalf(bytes, at + 2, least);
      writeFives(bytes, at + 4, (i) => Math.min(31, Math.trunc(Math.fround(Math.fround(Math.fround(x[i] - least) * inverse) + 0.5))));
    }),
};

import type { WeightFormat } from '../engine/weights';
import { halfAt, inBlocks, inverseOf, readFives, writeFives, writeHalf } from './ggml';

/**
 * GGUF's Q5_0: 32 values along a row in 22 bytes: fp16 scale d, their high bits, then the other four bits as Q4_0 has them.
 * value = d * (code - 16). Packed as llama.cpp's reference packs: the value furthest from 0 becomes -16.
 */
export const q5_0: WeightFormat = {
  name: 'Q5_0',
  code: 6,
  block: 32,
  blockBytes: 22,
  halves: [0],
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 22) {
      const d = halfAt(bytes, at);
      readFives(bytes, at + 2).forEach((code, i) => {
        out[b + i] = d * (code - 16);
      });
    }
    return out;
  },
  encode: (values) =>
    inBlocks(values, 22, (x, bytes, at) => {
      const scale = x.reduce((furthest, value) => (Math.abs(value) > Math.abs(furthest) ? value : furthest)) / -16;
      const inverse = inverseOf(scale);
      writeHalf(bytes, at, scale);
      writeFives(bytes, at + 2, (i) => Math.min(31, Math.trunc(Math.fround(Math.fround(x[i] * inverse) + 16.5))));
    }),
};

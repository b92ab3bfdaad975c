import type { WeightFormat } from '../engine/weights';
import { halfAt, inBlocks, inverseOf, writeHalf } from './ggml';

/**
 * GGUF's Q8_0: 32 values along a row in 34 bytes: fp16 scale d, then 32 signed bytes. value = d * byte. Packed as llama.cpp's
 * reference packs: a half goes away from zero.
 */
export const q8_0: WeightFormat = {
  name: 'Q8_0',
  code: 8,
  block: 32,
  blockBytes: 34,
  halves: [0],
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 34) {
      const d = halfAt(bytes, at);
      for (let i = 0; i < 32; i++) out[b + i] = d * ((bytes[at + 2 + i] << 24) >> 24);
    }
    return out;
  },
  encode: (values) =>
    inBlocks(values, 34, (x, bytes, at) => {
      const scale = Math.fround(x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
      const inverse = inverseOf(scale);
      writeHalf(bytes, at, scale);
      for (let i = 0; i < 32; i++) {
        const q = Math.fround(x[i] * inverse);
        bytes[at + 2 + i] = Math.sign(q) * Math.floor(Math.abs(q) + 0.5);
      }
    }),
};

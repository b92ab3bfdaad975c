import type { WeightFormat } from '../engine/weights';
import { halfToFloat } from '../formats/floats';

/**
 * GGUF's Q4_1: 32 values along a row in 20 bytes: fp16 scale d, fp16 minimum m, then 16 bytes whose low nibbles are values
 * 0-15 and whose high nibbles are values 16-31. value = d * nibble + m.
 */
export const q4_1: WeightFormat = {
  name: 'Q4_1',
  code: 3,
  block: 32,
  blockBytes: 20,
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 20) {
      const d = halfToFloat(bytes[at] | (bytes[at + 1] << 8));
      const m = halfToFloat(bytes[at + 2] | (bytes[at + 3] << 8));
      for (let i = 0; i < 16; i++) {
        const byte = bytes[at + 4 + i];
        out[b + i] = d * (byte & 15) + m;
        out[b + 16 + i] = d * (byte >> 4) + m;
      }
    }
    return out;
  },
};

import type { WeightFormat } from '../engine/weights';
import { halfToFloat } from '../formats/floats';

/** GGUF's Q8_0: 32 values along a row in 34 bytes: fp16 scale d, then 32 signed bytes. value = d * byte. */
export const q8_0: WeightFormat = {
  name: 'Q8_0',
  code: 8,
  block: 32,
  blockBytes: 34,
  decode(bytes, count) {
    const out = new Float32Array(count);
    for (let b = 0, at = 0; b < count; b += 32, at += 34) {
      const d = halfToFloat(bytes[at] | (bytes[at + 1] << 8));
      for (let i = 0; i < 32; i++) out[b + i] = d * ((bytes[at + 2 + i] << 24) >> 24);
    }
    return out;
  },
};

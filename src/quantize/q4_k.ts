import { readFields, writeFields } from './fields';
import { fitGroups, kFormat } from './k_block';
import { readScales, writeScales } from './k_scales';

const CODES = { bits: 4, wide: 32 };

/**
 * GGUF's Q4_K: 256 values along a row in 144 bytes: fp16 d, fp16 m, of every 32 values a scale and a minimum of 6 bits, codes of 4 bits.
 * value = d * scale * code - m * minimum. Packed as llama.cpp's reference packs.
 */
export const q4_k = kFormat({
  name: 'Q4_K',
  code: 12,
  bytes: 144,
  halves: [0, 2],
  group: 32,
  most: 15,
  offset: 0,
  read(bytes, at, to) {
    readScales(bytes, at, to);
    readFields(bytes, at + 16, to.codes, CODES);
  },
  fit(x, bytes, at, to) {
    fitGroups(x, to, 32, { most: 15, from: -1, steps: 20 }, true);
    writeScales(bytes, at, to);
  },
  write: (codes, bytes, at) => writeFields(codes, bytes, at + 16, CODES),
});

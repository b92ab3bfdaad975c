import { readFields, writeFields } from './fields';
import { fitGroups, kFormat } from './k_block';
import { readScales, writeScales } from './k_scales';

const [HIGH, LOW] = [
  { bits: 1, wide: 32, above: 4 },
  { bits: 4, wide: 32 },
];

/**
 * GGUF's Q5_K: 256 values along a row in 176 bytes: the head of Q4_K, the codes' high bits, then their low four.
 * value = d * scale * code - m * minimum. Packed as llama.cpp's reference packs.
 */
export const q5_k = kFormat({
  name: 'Q5_K',
  code: 13,
  bytes: 176,
  halves: [0, 2],
  group: 32,
  most: 31,
  offset: 0,
  read(bytes, at, to) {
    readScales(bytes, at, to);
    readFields(bytes, at + 16, to.codes, HIGH);
    readFields(bytes, at + 48, to.codes, LOW);
  },
  fit(x, bytes, at, to) {
    fitGroups(x, to, 32, { most: 31, from: -0.5, steps: 15 }, true);
    writeScales(bytes, at, to);
  },
  write(codes, bytes, at) {
    writeFields(codes, bytes, at + 16, HIGH);
    writeFields(codes, bytes, at + 48, LOW);
  },
});

import { readFields, writeFields } from './fields';
import { halfAt, writeHalf } from './ggml';
import { codesOf, fitGroups, kFormat } from './k_block';

const CODES = { bits: 2, wide: 32 };

/**
 * GGUF's Q2_K: 256 values along a row in 84 bytes: of every 16 values a scale (low nibble) and a minimum (high nibble), codes of 2 bits, fp16 d,
 * fp16 m. value = d * scale * code - m * minimum. Packed as llama.cpp's reference packs.
 */
export const q2_k = kFormat({
  name: 'Q2_K',
  code: 10,
  bytes: 84,
  halves: [80, 82],
  group: 16,
  most: 3,
  offset: 0,
  read(bytes, at, { codes, scales, mins }) {
    const [d, m] = [halfAt(bytes, at + 80), halfAt(bytes, at + 82)];
    for (let g = 0; g < 16; g++) [scales[g], mins[g]] = [d * (bytes[at + g] & 15), m * (bytes[at + g] >> 4)];
    readFields(bytes, at + 16, codes, CODES);
  },
  fit(x, bytes, at, to) {
    fitGroups(x, to, 16, { most: 3, from: -0.5, steps: 15, absolute: true }, false);
    const [scale, min] = [codesOf(to.scales, 15), codesOf(to.mins, 15)];
    writeHalf(bytes, at + 80, scale.unit);
    writeHalf(bytes, at + 82, min.unit);
    for (let g = 0; g < 16; g++) bytes[at + g] = scale.code(g) | (min.code(g) << 4);
    const [d, m] = [halfAt(bytes, at + 80), halfAt(bytes, at + 82)];
    for (let g = 0; g < 16; g++) [to.scales[g], to.mins[g]] = [d * (bytes[at + g] & 15), m * (bytes[at + g] >> 4)];
  },
  write: (codes, bytes, at) => writeFields(codes, bytes, at + 16, CODES),
});

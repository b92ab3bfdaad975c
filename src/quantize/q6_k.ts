import { readFields, writeFields } from './fields';
import { halfAt, writeHalf } from './ggml';
import { kFormat } from './k_block';
import { fitSymmetric, nearestWhole } from './k_fits';

const [HIGH, LOW] = [
  { bits: 2, wide: 32, above: 4 },
  { bits: 4, wide: 64 },
];
const f = Math.fround;

function readScales(bytes: Uint8Array, at: number, scales: Float32Array): void {
  const d = halfAt(bytes, at + 208);
  for (let g = 0; g < 16; g++) scales[g] = d * ((bytes[at + 192 + g] << 24) >> 24);
}

/**
 * GGUF's Q6_K: 256 values along a row in 210 bytes: the codes' low four bits, their high two, of every 16 values a signed byte as scale, fp16 d.
 * value = d * scale * (code - 32). Packed as llama.cpp's reference packs.
 */
export const q6_k = kFormat({
  name: 'Q6_K',
  code: 14,
  bytes: 210,
  halves: [208],
  group: 16,
  most: 63,
  offset: 32,
  read(bytes, at, { codes, scales }) {
    readFields(bytes, at, codes, LOW);
    readFields(bytes, at + 128, codes, HIGH);
    readScales(bytes, at, scales);
  },
  fit(x, bytes, at, { codes, scales }) {
    for (let g = 0; g < 16; g++) scales[g] = fitSymmetric(x.subarray(g * 16, g * 16 + 16), codes.subarray(g * 16, g * 16 + 16), 32);
    const furthest = scales.reduce((most, scale) => (Math.abs(scale) > Math.abs(most) ? scale : most), 0);
    if (Math.abs(furthest) < 1e-15) {
      codes.fill(0);
      scales.fill(0);
      return;
    }
    const inverse = f(-128 / furthest);
    writeHalf(bytes, at + 208, f(1 / inverse));
    for (let g = 0; g < 16; g++) bytes[at + 192 + g] = Math.min(127, nearestWhole(f(inverse * scales[g])));
    readScales(bytes, at, scales);
  },
  write(codes, bytes, at) {
    writeFields(codes, bytes, at, LOW);
    writeFields(codes, bytes, at + 128, HIGH);
  },
});

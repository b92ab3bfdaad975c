import { readFields, writeFields } from './fields';
import { halfAt, writeHalf } from './ggml';
import { kFormat } from './k_block';
import { fitByTurns, nearestWhole } from './k_fits';

const [HIGH, LOW] = [
  { bits: 1, wide: 32, above: 2 },
  { bits: 2, wide: 32 },
];
const [SCALES_LOW, SCALES_HIGH] = [
  { bits: 4, wide: 8 },
  { bits: 2, wide: 4, above: 4 },
];
const f = Math.fround;

function readScales(bytes: Uint8Array, at: number, scales: Float32Array): void {
  const codes = new Uint8Array(16);
  readFields(bytes, at + 96, codes, SCALES_LOW);
  readFields(bytes, at + 104, codes, SCALES_HIGH);
  const d = halfAt(bytes, at + 108);
  for (let g = 0; g < 16; g++) scales[g] = d * (codes[g] - 32);
}

/**
 * GGUF's Q3_K: 256 values along a row in 110 bytes: the codes' high bits, their low two bits, of every 16 values a scale of 6 bits, fp16 d.
 * value = d * (scale - 32) * (code - 4). Packed as llama.cpp's reference packs.
 */
export const q3_k = kFormat({
  name: 'Q3_K',
  code: 11,
  bytes: 110,
  halves: [108],
  group: 16,
  most: 7,
  offset: 4,
  read(bytes, at, { codes, scales }) {
    readFields(bytes, at, codes, HIGH);
    readFields(bytes, at + 32, codes, LOW);
    readScales(bytes, at, scales);
  },
  fit(x, bytes, at, { codes, scales }) {
    for (let g = 0; g < 16; g++) scales[g] = fitByTurns(x.subarray(g * 16, g * 16 + 16), codes.subarray(g * 16, g * 16 + 16), 4);
    const furthest = scales.reduce((most, scale) => (Math.abs(scale) > Math.abs(most) ? scale : most), 0);
    const inverse = furthest ? f(-32 / furthest) : 0;
    const stored = Uint8Array.from(scales, (scale) => (furthest ? Math.max(-32, Math.min(31, nearestWhole(f(inverse * scale)))) + 32 : 0));
    writeFields(stored, bytes, at + 96, SCALES_LOW);
    writeFields(stored, bytes, at + 104, SCALES_HIGH);
    writeHalf(bytes, at + 108, furthest ? f(1 / inverse) : 0);
    readScales(bytes, at, scales);
  },
  write(codes, bytes, at) {
    writeFields(codes, bytes, at, HIGH);
    writeFields(codes, bytes, at + 32, LOW);
  },
});

import { halfAt, writeHalf } from './ggml';
import { codesOf, type Unpacked } from './k_block';

/**
 * The head that Q4_K and Q5_K share, 16 bytes: fp16 d, fp16 m, then of eight groups a scale and a minimum of 6 bits: four of each in the
 * low 6 bits of eight bytes; of the others the low 4 bits in four more bytes, and the upper 2 bits above the first ones.
 */
export function readScales(bytes: Uint8Array, at: number, { scales, mins }: Unpacked): void {
  const [d, m] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
  const s = bytes.subarray(at + 4, at + 16);
  for (let g = 0; g < 4; g++) {
    [scales[g], mins[g]] = [d * (s[g] & 63), m * (s[g + 4] & 63)];
    scales[g + 4] = d * ((s[g + 8] & 15) | ((s[g] >> 6) << 4));
    mins[g + 4] = m * ((s[g + 8] >> 4) | ((s[g + 4] >> 6) << 4));
  }
}

/** Writes scales and minimums, and leaves them rounded as they are stored. */
export function writeScales(bytes: Uint8Array, at: number, to: Unpacked): void {
  const [scale, min] = [codesOf(to.scales, 63), codesOf(to.mins, 63)];
  for (let g = 0; g < 4; g++) {
    const [s, m] = [scale.code(g + 4), min.code(g + 4)];
    bytes[at + 4 + g] = scale.code(g) | ((s >> 4) << 6);
    bytes[at + 8 + g] = min.code(g) | ((m >> 4) << 6);
    bytes[at + 12 + g] = (s & 15) | ((m & 15) << 4);
  }
  writeHalf(bytes, at, scale.unit);
  writeHalf(bytes, at + 2, min.unit);
  readScales(bytes, at, to);
}

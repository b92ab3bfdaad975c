import type { WeightFormat } from '../engine/weights';
import { DYNAMIC_MAP, dynamicCode, sumAsTorch } from './dynamic_map';

const BLOCK = 64;
const BYTES = 4 + BLOCK / 2;

/** QLoRA's 4-bit NormalFloat (Dettmers et al., 2023, https://arxiv.org/abs/2305.14314, appendix E): quantiles of a normal. */
const NF4 = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495,
  0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
  0.7229568362236023, 1.0,
];

/** A 4-bit float (sign, 2 bits of exponent, 1 of mantissa) as bitsandbytes orders it; multiples of 1/12. */
const FP4_HALF = [0, 0.0052083335, 0.66666669, 1, 0.33333334, 0.5, 0.16666667, 0.25];
const FP4 = [...FP4_HALF, ...FP4_HALF.map((value) => -value)];

/**
 * Blocks of 64 values along a row in 36 bytes: their largest magnitude in fp32, then 32 bytes, the first value of each in the
 * high nibble: bitsandbytes' codes with the scale beside them. value = table[nibble] * magnitude.
 */
function fourBit(name: string, code: number, table: number[]): WeightFormat {
  const values = Float32Array.from(table);
  // Codes by value, and the points between them: a value on such a point takes the lower code.
  const order = [...values.keys()].sort((a, b) => values[a] - values[b] || a - b);
  const middles = Float32Array.from(order.slice(1), (code, i) => (values[code] + values[order[i]]) / 2);
  const nearest = (x: number): number => {
    let low = 0;
    let high = middles.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (x > middles[middle]) low = middle + 1;
      else high = middle;
    }
    return order[low];
  };
  return {
    name,
    code,
    block: BLOCK,
    blockBytes: BYTES,
    native: true,
    decode(bytes, count) {
      const out = new Float32Array(count);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let b = 0, at = 0; b < count; b += BLOCK, at += BYTES) {
        const scale = view.getFloat32(at, true);
        for (let i = 0; i < BLOCK / 2; i++) {
          const byte = bytes[at + 4 + i];
          out[b + 2 * i] = values[byte >> 4] * scale;
          out[b + 2 * i + 1] = values[byte & 15] * scale;
        }
      }
      return out;
    },
    encode(from) {
      const bytes = new Uint8Array((from.length / BLOCK) * BYTES);
      const view = new DataView(bytes.buffer);
      for (let b = 0, at = 0; b < from.length; b += BLOCK, at += BYTES) {
        let scale = 0;
        for (let i = b; i < b + BLOCK; i++) scale = Math.max(scale, Math.abs(from[i]));
        view.setFloat32(at, scale, true);
        // Times the inverse, not divided: where a value lies on a middle, bitsandbytes' rounding decides.
        const inverse = Math.fround(1 / Math.max(scale, Math.fround(1e-38)));
        const code = (i: number) => nearest(Math.min(1, Math.max(-1, Math.fround(from[i] * inverse))));
        for (let i = 0; i < BLOCK / 2; i++) bytes[at + 4 + i] = (code(b + 2 * i) << 4) | code(b + 2 * i + 1);
      }
      return bytes;
    },
  };
}

/** Bytes of a block with double quantisation: a code, then the nibbles. */
const NESTED_BYTES = 1 + BLOCK / 2;
const GROUP = 256;
const wholeWords = (bytes: number) => Math.ceil(bytes / 4) * 4;

/**
 * The same with double quantisation (QLoRA, section 3): every block's scale is a code of 8 bits, and behind the last row, at a multiple of
 * 4 bytes, stand in fp32 an offset and a magnitude for every 256 blocks of the matrix: scale = value of the code * magnitude + offset.
 */
function nested(name: string, code: number, single: WeightFormat): WeightFormat {
  return {
    name,
    code,
    block: BLOCK,
    blockBytes: NESTED_BYTES,
    native: true,
    single,
    tail(rows, columns) {
      const blocks = (rows * columns) / BLOCK;
      return wholeWords(blocks * NESTED_BYTES) - blocks * NESTED_BYTES + 4 + 4 * Math.ceil(blocks / GROUP);
    },
    decode(bytes, count, columns = count) {
      const { scales, codes } = statistics(bytes, count);
      const blocks = codes.length;
      const plain = new Uint8Array(blocks * BYTES);
      const view = new DataView(plain.buffer);
      for (let b = 0; b < blocks; b++) {
        view.setFloat32(b * BYTES, scales[b], true);
        plain.set(bytes.subarray(b * NESTED_BYTES + 1, (b + 1) * NESTED_BYTES), b * BYTES + 4);
      }
      return single.decode(plain, count, columns);
    },
    encode: (values, columns) =>
      joined((single.encode as NonNullable<WeightFormat['encode']>)(values, columns), [values.length / columns, columns]),
    join: joined,
  };
}

/** Blocks with fp32 scales as a matrix with double quantisation. */
function joined(bytes: Uint8Array, [rows, columns]: [number, number]): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scales = Float32Array.from({ length: (rows * columns) / BLOCK }, (_, b) => view.getFloat32(b * BYTES, true));
  const { codes, magnitudes, offset } = doubleQuantized(scales);
  const nibbles = (b: number) => bytes.subarray(b * BYTES + 4, (b + 1) * BYTES);
  return nestedBytes({ codes, magnitudes, offset, nibbles });
}

/** bitsandbytes' statistics of double quantisation: of every block the code of its scale, of every 256 a magnitude, of all an offset. */
export interface NestedStatistics {
  codes: Uint8Array;
  magnitudes: Float32Array;
  offset: number;
}

/** A matrix of them and of the 32 bytes of every block. */
export function nestedBytes({
  codes,
  magnitudes,
  offset,
  nibbles,
}: NestedStatistics & { nibbles: (block: number) => Uint8Array }): Uint8Array {
  const tail = wholeWords(codes.length * NESTED_BYTES);
  const out = new Uint8Array(tail + 4 + 4 * magnitudes.length);
  for (const [b, code] of codes.entries()) {
    out[b * NESTED_BYTES] = code;
    out.set(nibbles(b), b * NESTED_BYTES + 1);
  }
  const numbers = new Float32Array(out.buffer, tail);
  numbers[0] = offset;
  numbers.set(magnitudes, 1);
  return out;
}

/** What `nestedBytes` was given of a matrix of `count` values, and the scales that follow from it. */
export function statistics(bytes: Uint8Array, count: number): NestedStatistics & { scales: Float32Array } {
  const blocks = count / BLOCK;
  const codes = Uint8Array.from({ length: blocks }, (_, b) => bytes[b * NESTED_BYTES]);
  const numbers = new Float32Array(bytes.slice(wholeWords(blocks * NESTED_BYTES)).buffer);
  const [offset, magnitudes] = [numbers[0], numbers.subarray(1)];
  const scales = Float32Array.from(codes, (code, b) => Math.fround(DYNAMIC_MAP[code] * magnitudes[Math.floor(b / GROUP)]) + offset);
  return { codes, magnitudes, offset, scales };
}

/** Scales in blocks of 256 with their mean taken off, as bitsandbytes does it. */
function doubleQuantized(scales: Float32Array): NestedStatistics {
  const offset = Math.fround(sumAsTorch(scales) / scales.length);
  const codes = new Uint8Array(scales.length);
  const magnitudes = new Float32Array(Math.ceil(scales.length / GROUP));
  for (const [group] of magnitudes.entries()) {
    const block = scales.subarray(group * GROUP, (group + 1) * GROUP).map((scale) => scale - offset);
    const largest = block.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    magnitudes[group] = largest;
    const inverse = Math.fround(1 / largest);
    for (const [i, value] of block.entries()) codes[group * GROUP + i] = largest ? dynamicCode(Math.fround(value * inverse)) : 0;
  }
  return { codes, magnitudes, offset };
}

export const nf4 = fourBit('NF4', 1000, NF4);
export const fp4 = fourBit('FP4', 1001, FP4);
export const nf4_dq = nested('NF4_DQ', 1003, nf4);
export const fp4_dq = nested('FP4_DQ', 1004, fp4);

/** The 16 levels of a 4-bit format by their codes. */
export const LEVELS: Readonly<Record<'nf4' | 'fp4', Float32Array>> = { nf4: Float32Array.from(NF4), fp4: Float32Array.from(FP4) };

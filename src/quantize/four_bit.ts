import type { WeightFormat } from '../engine/weights';

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
        const inverse = Math.fround(1 / scale);
        const code = (i: number) => nearest(scale ? Math.fround(from[i] * inverse) : 0);
        for (let i = 0; i < BLOCK / 2; i++) bytes[at + 4 + i] = (code(b + 2 * i) << 4) | code(b + 2 * i + 1);
      }
      return bytes;
    },
  };
}

/** bitsandbytes' 256 values for 8-bit numbers (Dettmers et al., 2022, https://arxiv.org/abs/2110.02861), in ascending order. */
const DYNAMIC_MAP = (() => {
  const values = [0, 1];
  for (let i = 0; i < 7; i++) {
    const steps = 2 ** i;
    const edge = (k: number) => Math.fround(0.1 + (0.9 * k) / steps);
    for (let k = 0; k < steps; k++) {
      const value = 10 ** (i - 6) * Math.fround((edge(k) + edge(k + 1)) / 2);
      values.push(value, -value);
    }
  }
  return Float32Array.from(values).sort();
})();

/**
 * Double quantisation (QLoRA, section 3): scales of blocks to 8 bits, in blocks of 256 with their mean taken off, and back.
 * What is stored stays fp32, so it costs the accuracy that bitsandbytes' costs and saves none of its 0.37 bits a value.
 */
function doubleQuantized(scales: Float32Array): Float32Array {
  const offset = Math.fround(scales.reduce((sum, scale) => sum + scale, 0) / scales.length);
  const out = new Float32Array(scales.length);
  for (let b = 0; b < scales.length; b += 256) {
    const block = scales.subarray(b, b + 256).map((scale) => scale - offset);
    const largest = block.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    block.forEach((value, i) => {
      const x = largest ? Math.fround(value * Math.fround(1 / largest)) : 0;
      let best = 0;
      for (let c = 1; c < 256; c++) if (Math.abs(DYNAMIC_MAP[c] - x) < Math.abs(DYNAMIC_MAP[best] - x)) best = c;
      out[b + i] = Math.fround(Math.fround(DYNAMIC_MAP[best] * largest) + offset);
    });
  }
  return out;
}

/** The same weights with their scales quantised too. */
export function withDoubleQuantization(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scales = Float32Array.from({ length: bytes.length / BYTES }, (_, i) => view.getFloat32(i * BYTES, true));
  for (const [i, scale] of doubleQuantized(scales).entries()) view.setFloat32(i * BYTES, scale, true);
  return bytes;
}

export const nf4 = fourBit('NF4', 1000, NF4);
export const fp4 = fourBit('FP4', 1001, FP4);

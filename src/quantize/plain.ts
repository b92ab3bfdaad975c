import type { WeightFormat } from '../engine/weights';

const copy = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer;

/** 32-bit floats. */
export const f32: WeightFormat = {
  name: 'F32',
  code: 0,
  block: 1,
  blockBytes: 4,
  decode: (bytes, count) => new Float32Array(copy(bytes), 0, count),
};

/** IEEE half precision. */
export const f16: WeightFormat = {
  name: 'F16',
  code: 1,
  block: 1,
  blockBytes: 2,
  decode: (bytes, count) => Float32Array.from(new Uint16Array(copy(bytes), 0, count), halfToFloat),
};

/** bfloat16: the upper half of a 32-bit float. */
export const bf16: WeightFormat = {
  name: 'BF16',
  code: 30,
  block: 1,
  blockBytes: 2,
  decode(bytes, count) {
    const bits = Uint32Array.from(new Uint16Array(copy(bytes), 0, count), (half) => half << 16);
    return new Float32Array(bits.buffer);
  },
};

/** One IEEE half-precision number, given as its 16 bits. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + mantissa / 1024) : sign * 2 ** -14 * (mantissa / 1024);
}

const copy = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer as ArrayBuffer;

/** One IEEE half-precision number, given as its 16 bits. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + mantissa / 1024) : sign * 2 ** -14 * (mantissa / 1024);
}

const single = new Float32Array(1);
const bitsOf = new Uint32Array(single.buffer);

/** The 16 bits of a number in IEEE half precision: the nearest, of two as near the even one; beyond 65,504 infinity. */
export function floatToHalf(value: number): number {
  single[0] = value;
  const bits = bitsOf[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  const nearest = (n: number, shift: number) => (n + ((1 << (shift - 1)) - 1) + ((n >>> shift) & 1)) >>> shift;
  if (magnitude >= 0x38800000) return sign | nearest(magnitude - 0x38000000, 13);
  const shift = 126 - (magnitude >>> 23); // below 2^-14: multiples of 2^-24
  return sign | (shift > 24 ? 0 : nearest((magnitude & 0x7fffff) | 0x800000, shift));
}

/** Little-endian floating-point values of the kinds that files hold, as fp32. */
export const floats = {
  F32: (bytes: Uint8Array, count: number) => new Float32Array(copy(bytes), 0, count),
  F16: (bytes: Uint8Array, count: number) => Float32Array.from(new Uint16Array(copy(bytes), 0, count), halfToFloat),
  /** The upper half of a 32-bit float. */
  BF16(bytes: Uint8Array, count: number) {
    const bits = Uint32Array.from(new Uint16Array(copy(bytes), 0, count), (half) => half << 16);
    return new Float32Array(bits.buffer);
  },
  F64: (bytes: Uint8Array, count: number) => Float32Array.from(new Float64Array(copy(bytes), 0, count)),
  /** Sign, 5 bits of exponent and 2 of mantissa: the upper half of a half. */
  F8_E5M2: (bytes: Uint8Array, count: number) => Float32Array.from(bytes.subarray(0, count), (byte) => halfToFloat(byte << 8)),
  /** Sign, 4 bits of exponent and 3 of mantissa; no infinity, and one NaN of each sign. */
  F8_E4M3: (bytes: Uint8Array, count: number) => Float32Array.from(bytes.subarray(0, count), (byte) => E4M3[byte]),
};

const E4M3 = Float32Array.from({ length: 256 }, (_, byte) => {
  const [sign, exponent, mantissa] = [byte & 128 ? -1 : 1, (byte >> 3) & 15, byte & 7];
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  return sign * (exponent ? 2 ** (exponent - 7) * (1 + mantissa / 8) : (2 ** -6 * mantissa) / 8);
});

const copy = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer as ArrayBuffer;

/** One IEEE half-precision number, given as its 16 bits. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + mantissa / 1024) : sign * 2 ** -14 * (mantissa / 1024);
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
};

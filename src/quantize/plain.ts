import type { WeightFormat } from '../engine/weights';
import { floats, floatToHalf } from '../formats/floats';

const bytesOf = (values: Float32Array | Uint16Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** To the nearest, of two as near to the even one; NaN stays NaN. */
function toBf16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const nearest = (b: number, value: number) => (Number.isNaN(value) ? (b >>> 16) | 64 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
  return bytesOf(Uint16Array.from(bits, (b, i) => nearest(b, values[i])));
}

const toHalf = (values: Float32Array) => bytesOf(Uint16Array.from(values, floatToHalf));

/** 32-bit floats. */
export const f32: WeightFormat = { name: 'F32', code: 0, block: 1, blockBytes: 4, native: true, decode: floats.F32, encode: bytesOf };

/** IEEE half precision. */
export const f16: WeightFormat = { name: 'F16', code: 1, block: 1, blockBytes: 2, native: true, decode: floats.F16, encode: toHalf };

/** bfloat16: the upper half of a 32-bit float. */
export const bf16: WeightFormat = { name: 'BF16', code: 30, block: 1, blockBytes: 2, native: true, decode: floats.BF16, encode: toBf16 };

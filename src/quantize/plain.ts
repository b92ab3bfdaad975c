import type { WeightFormat } from '../engine/weights';
import { floats } from '../formats/floats';

/** 32-bit floats. */
export const f32: WeightFormat = { name: 'F32', code: 0, block: 1, blockBytes: 4, decode: floats.F32 };

/** IEEE half precision. */
export const f16: WeightFormat = { name: 'F16', code: 1, block: 1, blockBytes: 2, decode: floats.F16 };

/** bfloat16: the upper half of a 32-bit float. */
export const bf16: WeightFormat = { name: 'BF16', code: 30, block: 1, blockBytes: 2, decode: floats.BF16 };

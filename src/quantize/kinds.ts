// The kinds of frozen weight: one line each. What the native ops know of them stands in engine/native/kinds.h.
export { fp4, nf4 } from './four_bit';
export { int8 } from './int8';
export { bf16, f16, f32 } from './plain';
export { q4_0 } from './q4_0';
export { q4_1 } from './q4_1';
export { q8_0 } from './q8_0';

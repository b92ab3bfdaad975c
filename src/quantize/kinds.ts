// The kinds of frozen weight: one line each. What the native ops know of them stands in engine/native/kinds.h.
export { fp4, fp4_dq, nf4, nf4_dq } from './four_bit';
export { int8 } from './int8';
export { bf16, f16, f32 } from './plain';
export { q2_k } from './q2_k';
export { q3_k } from './q3_k';
export { q4_0 } from './q4_0';
export { q4_1 } from './q4_1';
export { q4_k } from './q4_k';
export { q5_0 } from './q5_0';
export { q5_1 } from './q5_1';
export { q5_k } from './q5_k';
export { q6_k } from './q6_k';
export { q8_0 } from './q8_0';

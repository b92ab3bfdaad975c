import { TunebookError } from '../core/errors';
import type { WeightFormat } from '../engine/weights';
import { fp4, nf4 } from './four_bit';
import { int8 } from './int8';
import { bf16, f16, f32 } from './plain';
import { q4_1 } from './q4_1';
import { q8_0 } from './q8_0';

export { BitsAndBytesConfig } from './config';
export { fp4, nf4 } from './four_bit';
export { int8 } from './int8';
export { bf16, f16, f32 } from './plain';
export { q4_1 } from './q4_1';
export { q8_0 } from './q8_0';

/** The kinds of frozen weight: one line each. */
const formats: WeightFormat[] = [f32, f16, bf16, q4_1, q8_0, nf4, fp4, int8];

/** The format that a file calls by this name (safetensors' and GGUF's names are the same here). */
export function weightFormat(name: string, where: string): WeightFormat {
  const format = formats.find((f) => f.name === name);
  if (!format)
    throw new TunebookError(
      `${where} is stored as ${name}, which tunebook does not read. It reads ${formats.map((f) => f.name).join(', ')}.`,
    );
  return format;
}

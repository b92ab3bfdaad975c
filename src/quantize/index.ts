import { TunebookError } from '../core/errors';
import type { WeightFormat } from '../engine/weights';
import * as kinds from './kinds';

export { BitsAndBytesConfig } from './config';
export * from './kinds';

/** All kinds of frozen weight. */
export const weightFormats: WeightFormat[] = Object.values(kinds);

/** The format that a file calls by this name (safetensors' and GGUF's names are the same here). */
export function weightFormat(name: string, where: string): WeightFormat {
  const format = weightFormats.find((f) => f.name === name);
  if (!format)
    throw new TunebookError(
      `${where} is stored as ${name}, which tunebook does not read. It reads ${weightFormats.map((f) => f.name).join(', ')}.`,
    );
  return format;
}

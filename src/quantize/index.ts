import { FileError, TunebookError } from '../core/errors';
import type { WeightFormat } from '../engine/weights';
import { floats } from '../formats/floats';
import * as kinds from './kinds';
import { bf16, f32 } from './kinds';

export { BitsAndBytesConfig } from './config';
export * from './kinds';
export { packedMatrix } from './packed';

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

const WIDER: Record<string, WeightFormat> = { F64: f32, F8_E4M3: bf16, F8_E5M2: bf16 };

/** The name of the narrowest kind of weight that holds what a floating-point type does: of 8 bits BF16, of 64 F32. */
export const widenedType = (type: string): string => (Object.hasOwn(WIDER, type) ? WIDER[type].name : type);

/** Values of floating-point types that are no kind of weight, as ones of the narrowest that holds them. */
export function widened(bytes: Uint8Array, type: string): { bytes: Uint8Array; type: string } {
  if (type !== 'F64' && type !== 'F8_E4M3' && type !== 'F8_E5M2') return { bytes, type };
  const format = WIDER[type];
  const values = floats[type](bytes, type === 'F64' ? bytes.length / 8 : bytes.length);
  return { bytes: (format.encode as NonNullable<WeightFormat['encode']>)(values, values.length), type: format.name };
}

/** Fails where a block's scale is no number: whatever is multiplied by it is none either. */
export function checkScales(format: WeightFormat, bytes: Uint8Array, where: string): void {
  for (const place of format.halves ?? [])
    for (let at = place + 1; at < bytes.length; at += format.blockBytes)
      if ((bytes[at] & 0x7c) === 0x7c)
        throw new FileError(
          `${where} is damaged: a scale of its ${format.name} blocks is no number (block ${Math.floor(at / format.blockBytes)}). Get the file again.`,
        );
}

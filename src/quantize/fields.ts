/**
 * Fields of `bits` bits in rows of `wide` bytes, as GGUF keeps codes: of every wide * 8 / bits values, value i + j * wide stands in byte i
 * from bit j * bits on. `above`: how many lower bits of the codes stand elsewhere.
 */
export interface Fields {
  bits: number;
  wide: number;
  above?: number;
}

/** Adds the fields from byte `at` on to as many codes as there are. */
export function readFields(bytes: Uint8Array, at: number, codes: Uint8Array, { bits, wide, above = 0 }: Fields): void {
  const run = (wide * 8) / bits;
  for (let first = 0; first < codes.length; first += run, at += wide)
    for (let j = 0; j < run; j += wide)
      for (let i = 0; i < wide; i++) codes[first + j + i] |= ((bytes[at + i] >> ((j / wide) * bits)) & ((1 << bits) - 1)) << above;
}

export function writeFields(codes: Uint8Array, bytes: Uint8Array, at: number, { bits, wide, above = 0 }: Fields): void {
  const run = (wide * 8) / bits;
  for (let first = 0; first < codes.length; first += run, at += wide)
    for (let j = 0; j < run; j += wide)
      for (let i = 0; i < wide; i++) bytes[at + i] |= ((codes[first + j + i] >> above) & ((1 << bits) - 1)) << ((j / wide) * bits);
}

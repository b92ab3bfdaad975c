/** What matrix products inside our native ops multiply: fp32 values, or values rounded to bf16; sums are fp32 in both. */
export type Precision = 'fp32' | 'bf16';

let current: Precision = 'fp32';

export const precision = (): Precision => current;

/** Runs f, and the backward passes of what it records, with products in this precision. */
export function withPrecision<T>(wanted: Precision, f: () => T): T {
  const before = current;
  current = wanted;
  try {
    return f();
  } finally {
    current = before;
  }
}

/** The attribute by which our ops are told; of one whose weights say what is multiplied with them, in fp32 where they do not agree. */
export function precisionAttribute(wanted: (Precision | undefined)[] = []): { bf16: number } {
  const all = wanted.length ? wanted.map((one) => one ?? current) : [current];
  return { bf16: all.every((one) => one === 'bf16') ? 1 : 0 };
}

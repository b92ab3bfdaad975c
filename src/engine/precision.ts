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

/** The attribute by which our ops are told. */
export const precisionAttribute = (): { bf16: number } => ({ bf16: current === 'bf16' ? 1 : 0 });

/** Python's white space: what `split()` divides at. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: Python divides at these too
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const END = new RegExp(`${SPACE.source}$`, 'u');

export const split = (text: string): string[] => text.split(SPACE).filter(Boolean);
export const withoutEnd = (text: string): string => text.replace(END, '');

/** How often each run of n words occurs. */
export function ngrams(words: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= words.length; i++) {
    const gram = words.slice(i, i + n).join('\0');
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** How many of a's runs are in b too, each at most as often as there. */
export function shared(a: Map<string, number>, b: Map<string, number>): number {
  let sum = 0;
  for (const [gram, count] of a) sum += Math.min(count, b.get(gram) ?? 0);
  return sum;
}

export const harmonic = (a: number, b: number): number => (a + b ? (2 * a * b) / (a + b) : 0);

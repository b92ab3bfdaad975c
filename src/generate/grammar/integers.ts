import type { Expression, Language } from './expression';

/** Digits of whole numbers that nothing bounds. */
const DIGITS = 16;

/** Sequences of digits from one to another, both of the same length. */
function sameLength(l: Language, from: string, to: string): Expression {
  const digit = (a: string, b: string) => l.bytes([[a.charCodeAt(0), b.charCodeAt(0)]]);
  if (/^0*$/.test(from) && /^9*$/.test(to)) return l.repeat(digit('0', '9'), from.length, from.length);
  const [a, b] = [from[0], to[0]];
  const [low, high] = [from.slice(1), to.slice(1)];
  if (a === b) return l.follow(digit(a, a), sameLength(l, low, high));
  const parts = [
    l.follow(digit(a, a), sameLength(l, low, '9'.repeat(low.length))),
    l.follow(digit(b, b), sameLength(l, '0'.repeat(low.length), high)),
  ];
  const next = (char: string, by: number) => String.fromCharCode(char.charCodeAt(0) + by);
  if (next(a, 1) < b) parts.push(l.follow(digit(next(a, 1), next(b, -1)), l.repeat(digit('0', '9'), low.length, low.length)));
  return l.either(parts);
}

/** Whole numbers from 0 on, both ends among them. */
function between(l: Language, from: bigint, to: bigint): Expression[] {
  const parts: Expression[] = [];
  for (let low = from; low <= to; ) {
    const longest = BigInt('9'.repeat(String(low).length));
    const high = longest < to ? longest : to;
    parts.push(sameLength(l, String(low), String(high)));
    low = high + 1n;
  }
  return parts;
}

/** Whole numbers in a range, as JSON writes them; without an end as long as 16 digits. */
export function integersBetween(l: Language, least?: number, most?: number): Expression {
  const bound = 10n ** BigInt(DIGITS) - 1n;
  const [from, to] = [least === undefined ? -bound : BigInt(least), most === undefined ? bound : BigInt(most)];
  const larger = (a: bigint, b: bigint) => (a > b ? a : b);
  const negative = from < 0n ? between(l, larger(1n, -to), -from).map((digits) => l.follow(l.text('-'), digits)) : [];
  return l.either([...negative, ...(to >= 0n ? between(l, larger(0n, from), to) : [])]);
}

import type { Expression, Language } from './expression';

/** From a code point to a code point. */
export type Points = [from: number, to: number][];

const LAST = 0x10ffff;
/** Up to where UTF-8 has 1, 2, 3 and 4 bytes, without the halves of pairs. */
const PARTS: Points = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, LAST],
];

/** Sorted, and without overlaps. */
function tidy(points: Points): Points {
  const sorted = points.filter(([from, to]) => from <= to).sort(([a], [b]) => a - b);
  const joined: Points = [];
  for (const [from, to] of sorted) {
    const last = joined.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else joined.push([from, to]);
  }
  return joined;
}

/** All other code points. */
export function without(points: Points): Points {
  const others: Points = [];
  let next = 0;
  for (const [from, to] of tidy(points)) {
    others.push([next, from - 1]);
    next = to + 1;
  }
  return tidy([...others, [next, LAST]]);
}

export function common(a: Points, b: Points): Points {
  return tidy(a.flatMap(([from, to]) => b.map(([low, high]): [number, number] => [Math.max(from, low), Math.min(to, high)])));
}

const utf8 = (point: number): number[] => [...Buffer.from(String.fromCodePoint(point))];

/** Ranges of equally long sequences of bytes, from the first to the last. */
function between(l: Language, from: number[], to: number[]): Expression {
  if (from.length === 1) return l.bytes([[from[0], to[0]]]);
  const [a, ...low] = from;
  const [b, ...high] = to;
  const [least, most] = [low.map(() => 0x80), low.map(() => 0xbf)];
  const behind = (first: number, last: number, x: number[], y: number[]) => l.follow(l.bytes([[first, last]]), between(l, x, y));
  if (a === b) return behind(a, a, low, high);
  const parts = [behind(a, a, low, most), behind(b, b, least, high)];
  if (b - a > 1) parts.push(behind(a + 1, b - 1, least, most));
  return l.either(parts);
}

/** One character of these, in UTF-8. */
export function character(l: Language, points: Points): Expression {
  return l.either(PARTS.flatMap((part) => common(points, [part]).map(([from, to]) => between(l, utf8(from), utf8(to)))));
}

const ESCAPED: Record<number, string> = { 8: '\\b', 9: '\\t', 10: '\\n', 12: '\\f', 13: '\\r', 34: '\\"', 92: '\\\\' };

/** One character of these as it stands in a JSON string. */
export function jsonCharacter(l: Language, points: Points): Expression {
  const plain = common(
    points,
    without([
      [0, 0x1f],
      [0x22, 0x22],
      [0x5c, 0x5c],
    ]),
  );
  const escaped = common(points, [
    [0, 0x1f],
    [0x22, 0x22],
    [0x5c, 0x5c],
  ]).flatMap(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, i) => l.text(ESCAPED[from + i] ?? `\\u${(from + i).toString(16).padStart(4, '0')}`)),
  );
  return l.either([character(l, plain), ...escaped]);
}

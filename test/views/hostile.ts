import type { Random } from '../../src/core/random';

const VALUES: (() => unknown)[] = [
  () => null,
  () => true,
  () => -1,
  () => 1e308,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => '',
  () => '<img src=x onerror=alert(1)>',
  () => '"><script>alert(1)</script>',
  () => 'javascript:alert(1)',
  () => '0:0 1:1e99 2:-1e99',
  () => '\u0000\ud800\u202e',
  () => 'x'.repeat(20_000),
  () => [],
  () => {
    const text = `${'['.repeat(500)}${']'.repeat(500)}`;
    return JSON.parse(text);
  },
  () => JSON.parse(`${'{"a":'.repeat(500)}1${'}'.repeat(500)}`),
  () => Array.from({ length: 3000 }, (_, i) => [i, i]),
  () => JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}, "toString": 1, "length": 9}'),
  () => Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i])),
];

/** A payload with one to three of its values, at any depth, replaced by, taken out for or joined by something unfit. */
export function hostile(random: Random, payload: unknown): unknown {
  const value = () => VALUES[random.below(VALUES.length)]();
  if (random.uniform() < 0.02) return value();
  for (let times = 1 + random.below(3); times > 0; times--) {
    let at = payload as Record<string, unknown>;
    for (;;) {
      const keys = Object.keys(at);
      if (!keys.length) break;
      const key = keys[random.below(keys.length)];
      const inner = at[key];
      if (typeof inner === 'object' && inner !== null && Object.keys(inner).length && random.uniform() < 0.7) {
        at = inner as Record<string, unknown>;
        continue;
      }
      const kind = random.below(4);
      if (kind === 0) delete at[key];
      else if (kind === 1 && Array.isArray(at)) at.push(value());
      else if (kind === 1) at[`more${random.below(5)}`] = value();
      else at[key] = value();
      break;
    }
  }
  return payload;
}

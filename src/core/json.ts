/** JSON as Python's json.dumps(indent=2, sort_keys=True) lays it out, with a line end. */
export function sortedJson(value: unknown): string {
  const sort = (v: unknown): unknown =>
    Array.isArray(v)
      ? v.map(sort)
      : v && typeof v === 'object'
        ? Object.fromEntries(
            Object.entries(v)
              .sort(([a], [b]) => (a < b ? -1 : 1))
              .map(([key, inner]) => [key, sort(inner)]),
          )
        : v;
  return `${JSON.stringify(sort(value), null, 2)}\n`;
}

/** JSON as Python's json.dumps writes it: what is no finite number is NaN, Infinity or -Infinity, which Python's json.loads reads. */
export const pythonJson = (value: unknown): string =>
  JSON.stringify(value, (_, inner) => (typeof inner === 'number' && !Number.isFinite(inner) ? `\ue000${inner}` : inner)).replaceAll(
    /"\ue000(NaN|-?Infinity)"/g,
    '$1',
  );

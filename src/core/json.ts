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

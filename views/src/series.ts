export type Point = [step: number, value: number];

/** Points of a series that a payload holds at most. */
export const MAX_POINTS = 1000;

/** At most `most` points that still show every spike: of each bucket the lowest and the highest, and both ends. */
export function thin(points: readonly Point[], most = MAX_POINTS): Point[] {
  if (points.length <= most) return [...points];
  const buckets = Math.max(1, Math.floor((most - 2) / 2));
  const inner = points.length - 2;
  const kept: Point[] = [points[0]];
  for (let b = 0; b < buckets; b++) {
    const from = 1 + Math.floor((b * inner) / buckets);
    const to = 1 + Math.floor(((b + 1) * inner) / buckets);
    if (from === to) continue;
    let low = points[from];
    let high = points[from];
    for (let i = from + 1; i < to; i++) {
      if (points[i][1] < low[1]) low = points[i];
      if (points[i][1] > high[1]) high = points[i];
    }
    kept.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  kept.push(points[points.length - 1]);
  return kept;
}

/** Points as one text, "step:value step:value"; values to 6 digits, those that are not finite left out. */
export const encodePoints = (points: readonly Point[]): string =>
  points
    .filter(([, value]) => Number.isFinite(value))
    .map(([step, value]) => `${step}:${Number(value.toPrecision(6))}`)
    .join(' ');

/** The points of such a text; undefined where it is none, or has a step below 0, or more points than a payload may have. */
export function decodePoints(text: string): Point[] | undefined {
  if (!text) return [];
  const parts = text.split(' ');
  if (parts.length > 2 * MAX_POINTS + 2) return undefined;
  const points: Point[] = [];
  for (const part of parts) {
    const colon = part.indexOf(':');
    const step = colon > 0 ? Number(part.slice(0, colon)) : Number.NaN;
    const value = part.length > colon + 1 ? Number(part.slice(colon + 1)) : Number.NaN;
    // What is larger than this is no figure of a training run, and overflows the arithmetic of axes.
    if (!(step >= 0 && step <= 1e15) || !(Math.abs(value) <= 1e100)) return undefined;
    points.push([step, value]);
  }
  return points;
}

/** Exponential moving average with bias correction: early points are not pulled towards zero. */
export function movingAverage(points: readonly Point[], weight = 0.9): Point[] {
  let mean = 0;
  let scale = 1;
  return points.map(([step, value]) => {
    mean = weight * mean + (1 - weight) * value;
    scale *= weight;
    return [step, mean / (1 - scale)];
  });
}

/** A figure for people: 4 significant digits. */
export const figure = (value: number): string =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));

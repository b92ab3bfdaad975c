import { MAX_POINTS, type Point } from './run';

/** At most `most` points that still show every spike: of each bucket the lowest and the highest, and both ends. */
export function thin(points: readonly Point[], most = MAX_POINTS): Point[] {
  if (points.length <= most) return [...points];
  const buckets = Math.max(1, Math.floor((most - 2) / 2));
  const inner = points.slice(1, -1);
  const kept: Point[] = [points[0]];
  for (let b = 0; b < buckets; b++) {
    const bucket = inner.slice(Math.floor((b * inner.length) / buckets), Math.floor(((b + 1) * inner.length) / buckets));
    if (!bucket.length) continue;
    let low = bucket[0];
    let high = bucket[0];
    for (const p of bucket) {
      if (p[1] < low[1]) low = p;
      if (p[1] > high[1]) high = p;
    }
    kept.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  kept.push(points[points.length - 1]);
  return kept;
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

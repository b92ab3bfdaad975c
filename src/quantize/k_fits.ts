/** How llama.cpp finds the codes of a few values, in fp32 and in its order, so that both pack to the same bytes. */

const f = Math.fround;
const LEAST = 1e-15;

/** To the nearest whole number, of two as near to the even one. */
export const nearestWhole = (x: number): number => f(f(x + 12582912) - 12582912);

const clamp = (x: number, least: number, most: number): number => (x < least ? least : x > most ? most : x);

/** A search for the best scale and minimum: steps of a tenth of a code from `from` codes beyond the most on. */
export interface Search {
  most: number;
  from: number;
  steps: number;
  /** Whether it is the absolute error that counts, not the square. */
  absolute?: boolean;
}

const tried = new Uint8Array(32);
const errorOf = (scale: number, min: number, x: Float32Array, weights: Float32Array, codes: Uint8Array, absolute?: boolean): number => {
  let error = 0;
  for (let i = 0; i < x.length; i++) {
    const off = f(f(f(scale * codes[i]) + min) - x[i]);
    error = f(error + f(weights[i] * (absolute ? Math.abs(off) : f(off * off))));
  }
  return error;
};

/** x = scale * code - min with codes from 0 to `most`, by weighted least squares of each number of codes tried. */
export function fitWithMin(
  x: Float32Array,
  weights: Float32Array,
  codes: Uint8Array,
  { most, from, steps, absolute }: Search,
): { scale: number; min: number } {
  let [min, max, sumW, sumX] = [x[0], x[0], 0, 0];
  for (let i = 0; i < x.length; i++) {
    if (x[i] < min) min = x[i];
    if (x[i] > max) max = x[i];
    sumW = f(sumW + weights[i]);
    sumX = f(sumX + f(weights[i] * x[i]));
  }
  if (min > 0) min = 0;
  if (max === min) {
    codes.fill(0);
    return { scale: 0, min: -min };
  }
  const inverse = f(most / f(max - min));
  for (let i = 0; i < x.length; i++) codes[i] = clamp(nearestWhole(f(inverse * f(x[i] - min))), 0, most);
  let scale = f(1 / inverse);
  let best = errorOf(scale, min, x, weights, codes, absolute);
  for (let step = 0; step <= steps; step++) {
    const times = f(f(f(from + f(f(0.1) * step)) + most) / f(max - min));
    let [sumL, sumLL, sumXL] = [0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const code = clamp(nearestWhole(f(times * f(x[i] - min))), 0, most);
      const weighted = f(weights[i] * code);
      tried[i] = code;
      sumL = f(sumL + weighted);
      sumLL = f(sumLL + f(weighted * code));
      sumXL = f(sumXL + f(weighted * x[i]));
    }
    const D = f(f(sumW * sumLL) - f(sumL * sumL));
    if (!(D > 0)) continue;
    let s = f(f(f(sumW * sumXL) - f(sumX * sumL)) / D);
    let m = f(f(f(sumLL * sumX) - f(sumL * sumXL)) / D);
    if (m > 0) [s, m] = [f(sumXL / sumLL), 0];
    const error = errorOf(s, m, x, weights, tried, absolute);
    if (error < best) {
      codes.set(tried.subarray(0, x.length));
      [best, scale, min] = [error, s, m];
    }
  }
  return { scale, min: -min };
}

/** The value furthest from 0, or 0 where all are next to nothing. */
function furthestOf(x: Float32Array): number {
  let furthest = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(furthest)) furthest = value;
  return Math.abs(furthest) < LEAST ? 0 : furthest;
}

/** x = scale * (code - half) with codes from 0 to 2 half - 1: of 19 scales around the plain one the best, weighted by squares. */
export function fitSymmetric(x: Float32Array, codes: Uint8Array, half: number): number {
  const max = furthestOf(x);
  if (!max) {
    codes.fill(0);
    return 0;
  }
  let [scale, best] = [0, Number.NEGATIVE_INFINITY];
  for (const step of [0, ...Array.from({ length: 19 }, (_, i) => i - 9).filter(Boolean)]) {
    const times = f(-f(half + f(f(0.1) * step)) / max);
    let [sumLX, sumLL] = [0, 0];
    for (let i = 0; i < x.length; i++) {
      const l = clamp(nearestWhole(f(times * x[i])), -half, half - 1);
      const w = f(x[i] * x[i]);
      tried[i] = l + half;
      sumLX = f(sumLX + f(f(w * x[i]) * l));
      sumLL = f(sumLL + f(f(w * l) * l));
    }
    if (step && !(sumLL > 0 && f(sumLX * sumLX) > f(best * sumLL))) continue;
    codes.set(tried.subarray(0, x.length));
    scale = sumLL ? f(sumLX / sumLL) : 0;
    best = f(scale * sumLX);
  }
  return scale;
}

const signed = new Int8Array(32);

/** The same of the plain scale alone, whose codes are then moved one by one where that is better. */
export function fitByTurns(x: Float32Array, codes: Uint8Array, half: number): number {
  const max = furthestOf(x);
  if (!max) {
    codes.fill(0);
    return 0;
  }
  const times = f(-half / max);
  let [sumLX, sumLL] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const l = clamp(nearestWhole(f(times * x[i])), -half, half - 1);
    const w = f(x[i] * x[i]);
    signed[i] = l;
    sumLX = f(sumLX + f(f(w * x[i]) * l));
    sumLL = f(sumLL + f(f(w * l) * l));
  }
  for (let turn = 0, changed = true; changed && turn < 5; turn++) {
    changed = false;
    for (let i = 0; i < x.length; i++) {
      const w = f(x[i] * x[i]);
      let lx = f(sumLX - f(f(w * x[i]) * signed[i]));
      if (!(lx > 0)) continue;
      let ll = f(sumLL - f(f(w * signed[i]) * signed[i]));
      const l = clamp(nearestWhole(f(f(x[i] * ll) / lx)), -half, half - 1);
      if (l === signed[i]) continue;
      lx = f(lx + f(f(w * x[i]) * l));
      ll = f(ll + f(f(w * l) * l));
      if (!(ll > 0 && f(f(lx * lx) * sumLL) > f(f(sumLX * sumLX) * ll))) continue;
      [signed[i], sumLX, sumLL, changed] = [l, lx, ll, true];
    }
  }
  for (let i = 0; i < x.length; i++) codes[i] = signed[i] + half;
  return sumLL > 0 ? f(sumLX / sumLL) : 0;
}

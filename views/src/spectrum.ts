/**
 * Singular values of low-rank products, from matrices of the size of the rank. With A^T = Q_A R_A and B = Q_B R_B, those of
 * B A are those of the small R_B R_A^T; R_A and R_B come as the Cholesky factors of A A^T and B^T B, in fp64, where squaring costs
 * no more than 1e-8 of the largest value. O((in + out) r^2) for each module; the dense product is never made.
 */

const CHUNK = 512;

/** Copies columns [from, from + count) of each of the r vectors into `to` [r, CHUNK]. */
type Load = (from: number, count: number, to: Float32Array) => void;

/** Vectors that are rows of [r, n]. */
export const rowsOf =
  (data: Float32Array, r: number, n: number): Load =>
  (from, count, to) => {
    for (let i = 0; i < r; i++) to.set(data.subarray(i * n + from, i * n + from + count), i * CHUNK);
  };

/** Vectors that are columns of [n, r]. */
export const columnsOf =
  (data: Float32Array, r: number): Load =>
  (from, count, to) => {
    for (let k = 0; k < count; k++) for (let i = 0, at = (from + k) * r; i < r; i++) to[i * CHUNK + k] = data[at + i];
  };

/** Inner products of every vector of x with every one of y, each of length n: [rx, ry]. The same x and y: half the work. */
export function products(x: Load, rx: number, y: Load, ry: number, n: number): Float64Array {
  const same = x === y;
  // Padded to whole tiles of 4 vectors, which stay zero.
  const [wx, wy] = [rx, ry].map((r) => Math.ceil(r / 4) * 4);
  const a = new Float32Array(wx * CHUNK);
  const b = same ? a : new Float32Array(wy * CHUNK);
  const sums = new Float64Array(wx * wy);
  for (let from = 0; from < n; from += CHUNK) {
    const count = Math.min(CHUNK, n - from);
    x(from, count, a);
    if (!same) y(from, count, b);
    for (let i = 0; i < wx; i += 4) for (let j = same ? i : 0; j < wy; j += 4) tile(a, i, b, j, count, sums, wy);
  }
  const result = new Float64Array(rx * ry);
  for (let i = 0; i < rx; i++)
    for (let j = 0; j < ry; j++) result[i * ry + j] = same && (j & ~3) < (i & ~3) ? sums[j * wy + i] : sums[i * wy + j];
  return result;
}

/** Adds 4 x 4 inner products; two columns at a time, so that their sums stay in registers. */
function tile(a: Float32Array, i: number, b: Float32Array, j: number, count: number, sums: Float64Array, width: number): void {
  const a0 = i * CHUNK;
  const a1 = a0 + CHUNK;
  const a2 = a1 + CHUNK;
  const a3 = a2 + CHUNK;
  for (let half = 0; half < 4; half += 2) {
    const b0 = (j + half) * CHUNK;
    const b1 = b0 + CHUNK;
    let s00 = 0;
    let s01 = 0;
    let s10 = 0;
    let s11 = 0;
    let s20 = 0;
    let s21 = 0;
    let s30 = 0;
    let s31 = 0;
    for (let k = 0; k < count; k++) {
      const y0 = b[b0 + k];
      const y1 = b[b1 + k];
      const x0 = a[a0 + k];
      const x1 = a[a1 + k];
      const x2 = a[a2 + k];
      const x3 = a[a3 + k];
      s00 += x0 * y0;
      s01 += x0 * y1;
      s10 += x1 * y0;
      s11 += x1 * y1;
      s20 += x2 * y0;
      s21 += x2 * y1;
      s30 += x3 * y0;
      s31 += x3 * y1;
    }
    const at = i * width + j + half;
    sums[at] += s00;
    sums[at + 1] += s01;
    sums[at + width] += s10;
    sums[at + width + 1] += s11;
    sums[at + 2 * width] += s20;
    sums[at + 2 * width + 1] += s21;
    sums[at + 3 * width] += s30;
    sums[at + 3 * width + 1] += s31;
  }
}

/** L with L L^T = g [r, r], lower triangular; columns of directions that g does not have are zero. */
export function cholesky(g: Float64Array, r: number): Float64Array {
  const l = new Float64Array(r * r);
  let largest = 0;
  for (let i = 0; i < r; i++) largest = Math.max(largest, g[i * r + i]);
  for (let j = 0; j < r; j++) {
    let pivot = g[j * r + j];
    for (let k = 0; k < j; k++) pivot -= l[j * r + k] ** 2;
    if (!(pivot > largest * r * 1e-15)) continue;
    const root = Math.sqrt(pivot);
    l[j * r + j] = root;
    for (let i = j + 1; i < r; i++) {
      let sum = g[i * r + j];
      for (let k = 0; k < j; k++) sum -= l[i * r + k] * l[j * r + k];
      l[i * r + j] = sum / root;
    }
  }
  return l;
}

/** Eigenvalues of a symmetric matrix [n, n], descending: Householder's reduction, then QL with implicit shifts (Wilkinson and Reinsch, 1971). */
export function eigenvalues(symmetric: Float64Array, n: number): number[] {
  const a = Float64Array.from(symmetric);
  const d = new Float64Array(n);
  const e = new Float64Array(n);
  for (let i = n - 1; i > 0; i--) {
    let scale = 0;
    for (let k = 0; k < i; k++) scale += Math.abs(a[i * n + k]);
    if (i === 1 || scale === 0) {
      e[i] = a[i * n + i - 1];
      continue;
    }
    let h = 0;
    for (let k = 0; k < i; k++) {
      a[i * n + k] /= scale;
      h += a[i * n + k] ** 2;
    }
    const f = a[i * n + i - 1];
    const g = f >= 0 ? -Math.sqrt(h) : Math.sqrt(h);
    e[i] = scale * g;
    h -= f * g;
    a[i * n + i - 1] = f - g;
    let sum = 0;
    for (let j = 0; j < i; j++) {
      let p = 0;
      for (let k = 0; k <= j; k++) p += a[j * n + k] * a[i * n + k];
      for (let k = j + 1; k < i; k++) p += a[k * n + j] * a[i * n + k];
      e[j] = p / h;
      sum += e[j] * a[i * n + j];
    }
    const half = sum / (2 * h);
    for (let j = 0; j < i; j++) {
      const u = a[i * n + j];
      const w = e[j] - half * u;
      e[j] = w;
      for (let k = 0; k <= j; k++) a[j * n + k] -= u * e[k] + w * a[i * n + k];
    }
  }
  for (let i = 0; i < n; i++) d[i] = a[i * n + i];
  for (let i = 1; i < n; i++) e[i - 1] = e[i];
  if (n) e[n - 1] = 0;
  for (let l = 0; l < n; l++) {
    for (let round = 0; round < 60; round++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m]) > Number.EPSILON * (Math.abs(d[m]) + Math.abs(d[m + 1]))) m++;
      if (m === l) break;
      let g = (d[l + 1] - d[l]) / (2 * e[l]);
      let r = Math.hypot(g, 1);
      g = d[m] - d[l] + e[l] / (g + (g >= 0 ? r : -r));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * e[i];
        const b = c * e[i];
        r = Math.hypot(f, g);
        e[i + 1] = r;
        if (r === 0) {
          d[i + 1] -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
      }
      if (r === 0 && i >= l) continue;
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
  return [...d].sort((x, y) => y - x);
}

/** A low-rank update: scale * b a, with a [r, in] and b [out, r]. */
export interface LowRankUpdate {
  a: Float32Array;
  b: Float32Array;
  r: number;
  inFeatures: number;
  outFeatures: number;
  scale: number;
}

const gramOfA = ({ a, r, inFeatures: n }: LowRankUpdate) => {
  const rows = rowsOf(a, r, n);
  return products(rows, r, rows, r, n);
};
const gramOfB = ({ b, r, outFeatures: n }: LowRankUpdate) => {
  const columns = columnsOf(b, r);
  return products(columns, r, columns, r, n);
};

/** The r singular values of the update, descending. */
export function singularValues(update: LowRankUpdate): number[] {
  const { r, scale } = update;
  const l = cholesky(gramOfA(update), r);
  const g = gramOfB(update);
  // L^T G L, whose eigenvalues are the squares.
  const gl = new Float64Array(r * r);
  for (let i = 0; i < r; i++)
    for (let k = 0; k < r; k++) {
      const value = g[i * r + k];
      for (let j = 0; j <= k; j++) gl[i * r + j] += value * l[k * r + j];
    }
  const core = new Float64Array(r * r);
  for (let k = 0; k < r; k++)
    for (let i = 0; i <= k; i++) {
      const value = l[k * r + i];
      for (let j = 0; j < r; j++) core[i * r + j] += value * gl[k * r + j];
    }
  return eigenvalues(core, r).map((square) => Math.abs(scale) * Math.sqrt(Math.max(0, square)));
}

/** |Q_x^T Q_y|^2 over the smaller rank: 1 where one span holds the other, 0 where they are orthogonal. */
function spanOverlap(gx: Float64Array, rx: number, gy: Float64Array, ry: number, cross: Float64Array): number {
  const lx = cholesky(gx, rx);
  const ly = cholesky(gy, ry);
  const rank = (l: Float64Array, r: number) => Array.from({ length: r }, (_, i) => l[i * r + i]).filter((v) => v > 0).length;
  const least = Math.min(rank(lx, rx), rank(ly, ry));
  if (!least) return 0;
  // Lx^-1 C Ly^-T by two forward substitutions; directions that are not there stay zero.
  const x = Float64Array.from(cross);
  for (let j = 0; j < ry; j++)
    for (let i = 0; i < rx; i++) {
      let sum = x[i * ry + j];
      for (let k = 0; k < i; k++) sum -= lx[i * rx + k] * x[k * ry + j];
      x[i * ry + j] = lx[i * rx + i] ? sum / lx[i * rx + i] : 0;
    }
  let total = 0;
  for (let i = 0; i < rx; i++)
    for (let j = 0; j < ry; j++) {
      let sum = x[i * ry + j];
      for (let k = 0; k < j; k++) sum -= ly[j * ry + k] * x[i * ry + k];
      x[i * ry + j] = ly[j * ry + j] ? sum / ly[j * ry + j] : 0;
      total += x[i * ry + j] ** 2;
    }
  return Math.min(1, total / least);
}

/** The spans of an update's rows of a and columns of b, ready to be compared. */
export interface Spans {
  r: number;
  inFeatures: number;
  outFeatures: number;
  a: Load;
  b: Load;
  gramA: Float64Array;
  gramB: Float64Array;
}

export const spansOf = (update: LowRankUpdate): Spans => {
  const { r, inFeatures, outFeatures } = update;
  const [a, b] = [rowsOf(update.a, r, inFeatures), columnsOf(update.b, r)];
  return { r, inFeatures, outFeatures, a, b, gramA: gramOfA(update), gramB: gramOfB(update) };
};

/** How much two updates of one shape share: of what they read (rows of a) and of what they write (columns of b), each 0 to 1. */
export function shared(x: Spans, y: Spans): { reads: number; writes: number } {
  const a = products(x.a, x.r, y.a, y.r, x.inFeatures);
  const b = products(x.b, x.r, y.b, y.r, x.outFeatures);
  return { reads: spanOverlap(x.gramA, x.r, y.gramA, y.r, a), writes: spanOverlap(x.gramB, x.r, y.gramB, y.r, b) };
}

/** The same of two updates. */
export const overlap = (x: LowRankUpdate, y: LowRankUpdate) => shared(spansOf(x), spansOf(y));

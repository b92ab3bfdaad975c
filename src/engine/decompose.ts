import { execute, isNative } from './backend';
import * as tf from './tf';

/** u [m, k], s [k] falling, v [n, k] with k = min(m, n): a = u diag(s) v^T */
export interface Singular {
  u: tf.Tensor2D;
  s: tf.Tensor1D;
  v: tf.Tensor2D;
}

/** The singular value decomposition of a [m, n]: natively TensorFlow's, elsewhere Jacobi's rotations. */
export function svd(a: tf.Tensor2D): Singular {
  if (!isNative()) return jacobi(a);
  const [s, u, v] = execute('Svd', [a], {}, 3);
  return { u, s, v } as Singular;
}

/** a [m, n] = q r: q [m, k] of orthonormal columns, r [k, n] upper triangular, k = min(m, n). */
export function qr(a: tf.Tensor2D): { q: tf.Tensor2D; r: tf.Tensor2D } {
  const [q, r] = isNative() ? execute('Qr', [a], {}, 2) : tf.linalg.qr(a);
  return { q, r } as { q: tf.Tensor2D; r: tf.Tensor2D };
}

/** The inverses of square matrices a [..., n, n], with their gradient: -a^-T dy a^-T. */
export const inverse = (a: tf.Tensor): tf.Tensor =>
  tf.customGrad((given, save) => {
    const y = isNative() ? execute('MatrixInverse', [given as tf.Tensor], {}, 1)[0] : eliminated(given as tf.Tensor);
    (save as (tensors: tf.Tensor[]) => void)([y]);
    return {
      value: y,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.neg(tf.matMul(tf.matMul(saved[0], dy, true), saved[0], false, true)),
    };
  })(a);

/** The inverse by elimination (Gauss and Jordan), each column by the largest value left in it. */
function eliminated(a: tf.Tensor): tf.Tensor {
  const n = a.shape.at(-1) as number;
  const values = Float64Array.from(a.dataSync());
  const result = new Float32Array(values.length);
  for (let from = 0; from < values.length; from += n * n) {
    const rows = Array.from({ length: n }, (_, i) =>
      Float64Array.from({ length: 2 * n }, (_, j) => (j < n ? values[from + i * n + j] : Number(j - n === i))),
    );
    for (let j = 0; j < n; j++) {
      const best = rows.reduce((at, row, i) => (i >= j && Math.abs(row[j]) > Math.abs(rows[at][j]) ? i : at), j);
      [rows[j], rows[best]] = [rows[best], rows[j]];
      rows[j] = rows[j].map((value) => value / rows[j][j]);
      for (let i = 0; i < n; i++) if (i !== j && rows[i][j]) rows[i] = rows[i].map((value, at) => value - rows[i][j] * rows[j][at]);
    }
    for (const [i, row] of rows.entries()) result.set(row.subarray(n), from + i * n);
  }
  return tf.tensor(result, a.shape);
}

/** One-sided Jacobi rotations (Hestenes, 1958): columns are turned against each other until all are orthogonal. */
function jacobi(a: tf.Tensor2D): Singular {
  const [m, n] = a.shape;
  if (m < n) {
    const { u, s, v } = jacobi(tf.transpose(a));
    return { u: v, s, v: u };
  }
  const column = (values: ArrayLike<number>, rows: number, columns: number) =>
    Array.from({ length: columns }, (_, j) => Float64Array.from({ length: rows }, (_, i) => values[i * columns + j]));
  const left = column(a.dataSync(), m, n);
  const right = Array.from({ length: n }, (_, j) => Float64Array.from({ length: n }, (_, i) => Number(i === j)));
  const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const [pp, qq, pq] = [dot(left[p], left[p]), dot(left[q], left[q]), dot(left[p], left[q])];
        if (Math.abs(pq) <= 1e-12 * Math.sqrt(pp * qq)) continue;
        turned = true;
        const zeta = (qq - pp) / (2 * pq);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const c = 1 / Math.sqrt(1 + t * t);
        for (const columns of [left, right])
          for (let i = 0; i < columns[p].length; i++) {
            const [x, y] = [columns[p][i], columns[q][i]];
            columns[p][i] = c * (x - t * y);
            columns[q][i] = c * (y + t * x);
          }
      }
  }
  const sizes = left.map((x) => Math.sqrt(dot(x, x)));
  const order = sizes.map((_, j) => j).sort((i, j) => sizes[j] - sizes[i]);
  const matrix = (columns: Float64Array[], rows: number) =>
    tf.tensor2d(
      Float32Array.from({ length: rows * n }, (_, at) => columns[at % n][Math.floor(at / n)]),
      [rows, n],
    );
  const u = order.map((j) => left[j].map((value) => value / (sizes[j] || 1)));
  return {
    u: matrix(u, m),
    s: tf.tensor1d(order.map((j) => sizes[j])),
    v: matrix(
      order.map((j) => right[j]),
      n,
    ),
  };
}

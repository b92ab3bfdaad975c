import { execute, Handle } from '../backend';
import * as tf from '../tf';

/**
 * Rows of a matrix, `source` bytes of kind `from`, packed as `kind` into the matrix `to` from row `first` on, in place. Where the kind's
 * scales are nested they go to `scales`, fp32 [rows * blocks of a row], and `nestScales` finishes the matrix. Native engine only.
 */
export function packRows(
  to: Handle,
  source: Uint8Array,
  {
    kind,
    from,
    columns,
    first,
    rows,
    scales,
  }: { kind: number; from: number; columns: number; first: number; rows: number; scales: tf.Tensor | Handle },
): void {
  const bytes = Handle.create(source);
  const place = tf.tensor1d([first, rows], 'int32');
  try {
    execute('TunebookPack', [to, bytes, scales, place], { kind, source: from, columns }, 0);
  } finally {
    bytes.dispose();
    place.dispose();
  }
}

/** Gives the blocks of a packed matrix [rows, columns] the 8-bit codes of their scales, and writes what these are numbers of. */
export function nestScales(matrix: Handle, scales: tf.Tensor, kind: number, [rows, columns]: [number, number]): void {
  execute('TunebookNestScales', [matrix, scales], { kind, rows, columns }, 0);
}

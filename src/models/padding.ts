import { ShapeError } from '../core/errors';
import * as tf from '../engine/tf';

/**
 * Rows of ids [batch, seq] one behind another without what `mask` has a 0 for: ids [1, total], how many of each row are left, and where each
 * of them was, int32 [total, 1], as a flat index.
 */
export function withoutPadding(ids: tf.Tensor2D, mask: tf.Tensor2D): { row: tf.Tensor2D; lengths: number[]; places: tf.Tensor2D } {
  const [batch, seq] = ids.shape;
  if (mask.rank !== 2 || mask.shape[0] !== batch || mask.shape[1] !== seq)
    throw new ShapeError(`attention_mask is [${mask.shape}], but the ids are [${ids.shape}]: it has a 1 or 0 for each of them.`);
  const [own, seen] = [ids.dataSync(), mask.dataSync()];
  const wrong = seen.find((value) => Number(value) !== 0 && Number(value) !== 1);
  if (wrong !== undefined) throw new ShapeError(`attention_mask has the value ${wrong}: it is 1 for tokens and 0 for padding.`);
  const kept = Array.from(own.keys()).filter((at) => seen[at]);
  if (!kept.length) throw new ShapeError('attention_mask leaves no token.');
  const lengths = Array<number>(batch).fill(0);
  for (const at of kept) lengths[Math.floor(at / seq)]++;
  const int = (values: number[], shape: [number, number]) => tf.tensor2d(values, shape, 'int32');
  return {
    row: int(
      kept.map((at) => own[at]),
      [1, kept.length],
    ),
    lengths: lengths.filter((length) => length > 0),
    places: int(kept, [kept.length, 1]),
  };
}

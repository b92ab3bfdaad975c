import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import * as tf from '../engine/tf';
import { Weight } from '../engine/weights';
import { readSafetensors } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import { type Adaptable, Parameter } from '../nn';
import { weightFormat } from '../quantize';

/** Modules whose matrices PEFT saves with an adapter beside them (its EMBEDDING_LAYER_NAMES). */
const EMBEDDINGS = /(^|\.)(embed_tokens|lm_head)$/;

/** The names that the matrices of adapted embedding tables and output heads are saved under. */
export function matrixNames(prefix: string, layers: Map<string, Adaptable>): Map<string, Adaptable> {
  return new Map([...layers].flatMap(([path, layer]) => (EMBEDDINGS.test(path) ? [[`${prefix}${path}.base_layer.weight`, layer]] : [])));
}

/** Whether two matrices hold the same values. */
function same(a: Weight | Parameter, b: Weight): boolean {
  if (a instanceof Weight && a.format === b.format) return Buffer.compare(a.packed(), b.packed()) === 0;
  return tf.tidy(() => {
    const [x, y] = [a instanceof Parameter ? a.tensor : a.dequantize(), b.dequantize()];
    return tf.all(tf.equal(x, y)).dataSync()[0] === 1;
  });
}

/**
 * Puts matrices that were saved with an adapter in the place of the model's where their values differ (the model's may be packed, or
 * the adapter was trained beside another table). Returns what puts the model's back.
 */
export async function adoptMatrices(path: string, prefix: string, layers: Map<string, Adaptable>): Promise<() => void> {
  const { tensors } = await readSafetensors(path);
  const undo: (() => void)[] = [];
  const back = () => {
    for (const step of undo.splice(0).reverse()) step();
  };
  try {
    await withFile(path, async (read) => {
      for (const [name, layer] of matrixNames(prefix, layers)) {
        const stored = tensors.get(name);
        if (!stored) continue;
        const before = layer.weight;
        if (stored.shape.join() !== before.shape.join())
          throw new FileError(
            `${path}: ${name} is [${stored.shape}], but the model's is [${before.shape}]. Was the adapter trained with more tokens?`,
          );
        const made = new Weight(weightFormat(stored.type, name), stored.shape as [number, number], await read(stored));
        if (same(before, made)) {
          made.dispose();
          continue;
        }
        warnOnce(`${path} brings its own ${name.slice(prefix.length)}, which takes the place of the model's.`);
        Object.assign(layer, { weight: made });
        undo.push(() => {
          Object.assign(layer, { weight: before });
          made.dispose();
        });
      }
    });
  } catch (error) {
    back();
    throw error;
  }
  return back;
}

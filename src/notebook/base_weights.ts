import { NO_BASE } from '../../views';
import { FileError } from '../core/errors';
import { startBackend, take } from '../engine/backend';
import * as tf from '../engine/tf';
import type { Weight } from '../engine/weights';
import { findModel, resolveModel } from '../hub/resolve';
import { weightsOf } from '../models/loading';
import type { WeightSource } from '../models/source';

/** The Frobenius norm of a matrix. */
export async function normOf(matrix: Weight | { tensor: tf.Tensor }): Promise<number> {
  const squares = tf.tidy(() => tf.sum(tf.square('tensor' in matrix ? matrix.tensor : matrix.dequantize())));
  return Math.sqrt((await take(squares))[0]);
}

/** The weights that an adapter in a folder stands beside, read one at a time: nothing of the model stays in memory. */
export interface BaseWeights {
  /** All parameters; null where the model is not at hand. */
  total: number | null;
  /** What the reader is told where there are none, and what to do about it; more once a matrix does not fit. */
  notes: string[];
  /** Of a module's matrix; null where it is not at hand. `shape`: [out, in] or [in, out]. */
  norm(module: string, shape: [number, number]): Promise<number | null>;
}

const REMEDY = "To see both, give the model's name, folder or .gguf file: inspect(folder, { base_model: '...' }).";
const nothing = (why: string): BaseWeights => ({ total: null, notes: [`${NO_BASE} ${why} ${REMEDY}`], norm: async () => null });

/** Of the model that is `given`, or of the one that the adapter's config names, where it is on this machine: nothing is fetched for that. */
export async function baseWeights(named: string, given: string | null): Promise<BaseWeights> {
  if (given === null && !named) return nothing('Its adapter_config.json does not name it.');
  const found = given === null ? findModel(named) : await resolveModel(given);
  if (!found) return nothing(`'${named}' is not on this machine.`);
  try {
    await startBackend();
    const source = await weightsOf(found);
    const notes: string[] = [];
    const norm: BaseWeights['norm'] = (module, shape) =>
      normIn(source, module, shape).catch((error) => {
        if (given !== null || !(error instanceof FileError)) throw error;
        if (!notes.length) notes.push(`${error.message} ${REMEDY}`);
        return null;
      });
    return { total: await source.numParameters(), notes, norm };
  } catch (error) {
    if (given !== null || !(error instanceof FileError)) throw error;
    return nothing(error.message);
  }
}

async function normIn(source: WeightSource, module: string, expected: [number, number]): Promise<number> {
  const name = `${module}.weight`;
  const shape = source.shape(name);
  if (shape && ![expected, expected.toReversed()].some((one) => one.join() === shape.join()))
    throw new FileError(
      `${source.description}: ${name} is [${shape}], and the adapter updates one of [${expected}]. The adapter was trained beside another model.`,
    );
  const weight = await source.weight(name, ...((shape ?? expected) as [number, number]));
  try {
    return await normOf(weight);
  } finally {
    weight.dispose();
  }
}

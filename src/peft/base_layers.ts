import { FileError } from '../core/errors';
import { warnOnce } from '../core/events';
import * as tf from '../engine/tf';
import { Weight } from '../engine/weights';
import { floats } from '../formats/floats';
import { readSafetensors } from '../formats/safetensors';
import { withFile } from '../formats/slices';
import { type Adaptable, type Matrix, type Module, Parameter } from '../nn';
import type { BaseModel } from './method';
import { isAdaptable } from './targets';

/** Modules whose matrices PEFT saves with an adapter beside them (its EMBEDDING_LAYER_NAMES). */
const EMBEDDINGS = /(^|\.)(embed_tokens|lm_head)$/;

/** The names that the matrices of embedding tables and output heads are saved under: of adapted ones, and of the others (`plain`). */
export function matrixNames(
  prefix: string,
  modules: ReadonlyMap<string, Module>,
  model: BaseModel,
  plain: boolean,
): Map<string, Adaptable> {
  const adapted = [...modules].flatMap(([path, module]): [string, Adaptable][] =>
    EMBEDDINGS.test(path) && isAdaptable(module) ? [[`${prefix}${path}.base_layer.weight`, module]] : [],
  );
  const layers: Module[] = plain ? (model.tokenLayers ?? []) : [];
  const others = [...model.namedModules()].flatMap(([path, module]): [string, Adaptable][] =>
    layers.includes(module) && isAdaptable(module) && !adapted.some(([, one]) => one === module)
      ? [[`${prefix}${path}.weight`, module]]
      : [],
  );
  return new Map([...adapted, ...others]);
}

function same(matrix: Matrix, values: Float32Array): boolean {
  return tf.tidy(() => {
    const own = matrix instanceof Weight ? matrix.dequantize() : matrix.tensor;
    return tf.all(tf.equal(own, tf.tensor(values, own.shape))).dataSync()[0] === 1;
  });
}

/** A layer's own matrix, and behind it those that adapters have brought and not taken back yet: the last is the layer's for now. */
const brought = new WeakMap<Adaptable, Matrix[]>();

/** Makes a matrix the layer's. Adapters go in any order: what takes it back leaves those of others. */
function bring(layer: Adaptable, made: Parameter): () => void {
  const all = brought.get(layer) ?? [layer.owned('weight')];
  brought.set(layer, all);
  all.push(made);
  layer.exchange('weight', made);
  return () => {
    all.splice(all.indexOf(made), 1);
    layer.exchange('weight', all.at(-1) as Matrix);
    if (all.length === 1) brought.delete(layer);
    made.dispose();
  };
}

/**
 * Puts matrices that were saved with an adapter in the place of the model's where their values differ (the model's may be packed, or
 * the adapter was trained beside another table); `refuse` is told of one before and may throw. Returns their names, and what puts the model's back.
 */
export async function adoptMatrices(
  path: string,
  prefix: string,
  layers: ReadonlyMap<string, Adaptable>,
  refuse: (name: string) => void,
): Promise<{ names: string[]; back: () => void }> {
  const { tensors } = await readSafetensors(path);
  const names: string[] = [];
  const undo: (() => void)[] = [];
  const back = () => {
    for (const step of undo.splice(0).reverse()) step();
  };
  try {
    await withFile(path, async (read) => {
      for (const [name, layer] of layers) {
        const stored = tensors.get(name);
        if (!stored) continue;
        const before = layer.owned('weight');
        if (stored.shape.join() !== before.shape.join())
          throw new FileError(
            `${path}: ${name} is [${stored.shape}], but the model's is [${before.shape}]. Was the adapter trained with more tokens? Then first: await model.resize_token_embeddings(${stored.shape[0]}).`,
          );
        if (!(stored.type in floats)) throw new FileError(`${path}: ${name} is stored as ${stored.type}; F32, F16 or BF16 is expected.`);
        const values = floats[stored.type as keyof typeof floats](await read(stored), stored.shape[0] * stored.shape[1]);
        if (!brought.has(layer) && same(before, values)) continue;
        refuse(name.slice(prefix.length));
        warnOnce(`${path} brings its own ${name.slice(prefix.length)}, which takes the place of the model's.`);
        names.push(name.slice(prefix.length));
        undo.push(bring(layer, new Parameter(tf.keep(tf.tensor(values, stored.shape)), false)));
      }
    });
  } catch (error) {
    back();
    throw error;
  }
  return { names, back };
}

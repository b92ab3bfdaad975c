import { OptionError } from '../core/errors';
import { emit } from '../core/events';
import { show } from '../core/options';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import { Weight, type WeightFormat } from '../engine/weights';
import { type Adaptable, Embedding, type LowRank, type Matrix, type Module, Parameter, TiedLinear } from '../nn';
import { bf16, f32 } from '../quantize';
import type { BaseModel, Pack } from './method';
import { isAdaptable } from './targets';

/** What merged matrices are kept in. */
const FORMATS: Record<string, WeightFormat> = { bfloat16: bf16, float32: f32 };

type Layer = Adaptable & { scales?: Parameter[]; bias?: Parameter };
const hasTerms = ({ lowRank, scales = [] }: Layer) => lowRank.length + scales.length > 0;
const plain = (weight: Matrix): tf.Tensor2D => (weight instanceof Parameter ? tf.clone(weight.tensor as tf.Tensor2D) : weight.dequantize());

/** A layer's matrix with all that stands beside it: scale B A added (of a table its transpose), rows and columns scaled. */
function whole({ weight, lowRank, scales = [] }: Layer, isTable: boolean): tf.Tensor2D {
  let w = plain(weight);
  const into = scales.filter(({ shape }) => shape[0] === 1);
  for (const l of into) w = tf.mul(w, l.tensor);
  for (const { a, b, scale } of lowRank) {
    const [left, right] = (isTable ? [a, b] : [b, a]).map(({ tensor }) => tensor as tf.Tensor2D);
    let delta: tf.Tensor = tf.mul(tf.matMul(left, right, isTable, isTable), scale);
    for (const l of into) delta = tf.mul(delta, l.tensor);
    w = tf.add(w, delta);
  }
  for (const l of scales) if (l.shape[1] === 1) w = tf.mul(w, l.tensor);
  return w;
}

/** What packs a matrix as `dtype` says. */
export function packer(dtype: string): Pack {
  if (!Object.hasOwn(FORMATS, dtype))
    throw new OptionError(`Merged weights can be kept in ${Object.keys(FORMATS).map(show).join(' or ')}, not in ${show(dtype)}.`);
  return (matrix) => packed(matrix, FORMATS[dtype]);
}

async function packed(tensor: tf.Tensor2D, format: WeightFormat): Promise<Weight> {
  const [rows, columns] = tensor.shape;
  return new Weight(format, [rows, columns], format.encode?.((await take(tensor)) as Float32Array, columns) as Uint8Array);
}

/** The matrices of a model with its adapters merged into them; `undo` and `keep` end that. */
export class Merged {
  private readonly changed: {
    layer: Layer;
    lowRank: LowRank[];
    scales?: Parameter[];
    fields: Map<string, Matrix>;
    /** What an adapter had put in the place of the layer's own. */
    before: Map<string, Matrix | undefined>;
  }[] = [];

  /** Merges all that stands beside the model's layers. Where memory runs out in the middle, all is as before. */
  static async into(model: Module, dtype = 'bfloat16'): Promise<Merged> {
    const pack = packer(dtype);
    const merged = new Merged();
    try {
      const layers = [...model.namedModules()].flatMap(([, module]) => (isAdaptable(module) ? [module] : []));
      const tables = layers.some((layer) => layer instanceof Embedding && layer.adapted);
      // A head that shares a table's matrix takes its own before the table's changes, or another takes its place.
      const shares = (layer: Layer) => layer instanceof TiedLinear && tables;
      const wanted = layers.filter((layer) => hasTerms(layer) || shares(layer));
      for (const layer of wanted.sort((a, b) => Number(shares(b)) - Number(shares(a)))) await merged.add(layer, pack);
      return merged;
    } catch (error) {
      merged.undo();
      throw error;
    }
  }

  private async add(layer: Layer, pack: Pack): Promise<void> {
    const { lowRank, scales, bias } = layer;
    const fields = new Map<string, Matrix>();
    fields.set('weight', await pack(tf.tidy(() => whole(layer, layer instanceof Embedding))));
    const out = (scales ?? []).filter(({ shape }) => shape[1] === 1);
    if (bias && out.length)
      fields.set(
        'bias',
        new Parameter(
          tf.keep(tf.tidy(() => out.reduce<tf.Tensor>((b, l) => tf.mul(b, tf.reshape(l.tensor, [-1])), tf.clone(bias.tensor)))),
          false,
        ),
      );
    const before = new Map([...fields].map(([field, matrix]) => [field, layer.swap(field, matrix)]));
    this.changed.push({ layer, lowRank, scales, fields, before });
    layer.lowRank = [];
    if (scales) layer.scales = [];
  }

  /** The matrices and what stood beside them are as they were. */
  undo(): void {
    for (const { layer, lowRank, scales, fields, before } of this.changed.splice(0)) {
      for (const [field, matrix] of fields) {
        layer.swap(field, before.get(field));
        matrix.dispose();
      }
      layer.lowRank = lowRank;
      if (scales) layer.scales = scales;
    }
  }

  /** The merged matrices are the model's own from now on. */
  keep(): void {
    for (const { layer, fields } of this.changed.splice(0)) for (const field of fields.keys()) layer.adopt(field);
  }
}

/**
 * Merges what stands beside a model's layers into them for good. `keep` makes the model's own what an adapter has put in the place of
 * tensors, and gives what ends the adapters. Says how far the largest logit moved.
 */
export async function mergeForGood(model: BaseModel, dtype: string, keep: (pack: Pack) => Promise<() => void>): Promise<void> {
  const before = await probe(model);
  const merged = await Merged.into(model, dtype);
  const end = await keep(packer(dtype));
  merged.keep();
  end();
  // A head that has become another than the table is saved as one of its own.
  const { config } = model as { config: { tie_word_embeddings?: boolean } };
  if (config.tie_word_embeddings && [...model.namedTensors()].some(([name]) => name === 'lm_head.weight'))
    config.tie_word_embeddings = false;
  const after = await probe(model);
  if (!before || !after) return;
  const drift = before.reduce((most, value, i) => Math.max(most, Math.abs(value - after[i])), 0);
  const text = `Merged in ${dtype}: the logits of a probe of ${PROBE} tokens moved by ${drift.toPrecision(2)} at most.`;
  emit('progress', { id: 'merge', text, done: true });
}

/** Tokens of the text by whose logits a merged model is compared. */
const PROBE = 16;

/** The logits of a few tokens from all over the vocabulary; undefined of a model that has none. */
async function probe(model: BaseModel): Promise<Float32Array | undefined> {
  const { forward, config } = model as BaseModel & { forward?: (ids: tf.Tensor2D) => tf.Tensor; config: { vocab_size?: number } };
  const words = config.vocab_size;
  if (!forward || !words) return undefined;
  const ids = Array.from({ length: PROBE }, (_, i) => Math.floor(((i + 0.5) * words) / PROBE));
  return take(tf.tidy(() => forward.call(model, tf.tensor2d([ids], [1, PROBE], 'int32'))));
}

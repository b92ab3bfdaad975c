import { OptionError } from '../core/errors';
import { emit } from '../core/events';
import { type Known, show } from '../core/options';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import type { Weight, WeightFormat } from '../engine/weights';
import { type Adaptable, type Beside, Embedding, type Matrix, type Module, Parameter, type Scale, scalesOut, TiedLinear } from '../nn';
import { type BitsAndBytesConfig, bf16, f32, packedMatrix } from '../quantize';
import type { Keeping, Pack } from './adapter';
import type { Standing } from './linear_term';
import type { BaseModel } from './method';
import { isAdaptable } from './targets';

/** What merged matrices are kept in. */
const FORMATS: Record<string, WeightFormat> = { bfloat16: bf16, float32: f32 };

type Layer = Adaptable & { scales?: Scale[]; beside?: Beside[]; bias?: Parameter };
const hasTerms = ({ lowRank, scales = [], beside = [] }: Layer) => lowRank.length + scales.length + beside.length > 0;
const plain = (weight: Matrix): tf.Tensor2D => (weight instanceof Parameter ? tf.clone(weight.tensor as tf.Tensor2D) : weight.dequantize());

/** The matrix [out, in] of a linear map of rows [..., in]. */
const matrixOf = (map: (x: tf.Tensor) => tf.Tensor, size: number): tf.Tensor => tf.transpose(map(tf.eye(size)));

/** What a layer's terms add to its matrix, before anything turns or scales what goes in or comes out; of a table as the table has it. */
function addedTo({ lowRank, beside = [], inFeatures }: Pick<Layer, 'lowRank' | 'beside' | 'inFeatures'>, isTable: boolean): tf.Tensor[] {
  const pairs = lowRank.map(({ a, b, scale }) => {
    const [left, right] = (isTable ? [a, b] : [b, a]).map(({ tensor }) => tensor as tf.Tensor2D);
    return tf.mul(tf.matMul(left, right, isTable, isTable), scale);
  });
  return [...pairs, ...beside.flatMap(({ adds }) => (adds ? [matrixOf(adds, inFeatures)] : []))];
}

/** A layer's matrix with all that stands beside it: what is added (scale B A, of a table its transpose), what goes in turned and scaled, what comes out scaled. */
function whole(layer: Layer, isTable: boolean): tf.Tensor2D {
  const { weight, scales = [], beside = [], inFeatures } = layer;
  let w: tf.Tensor2D = addedTo(layer, isTable).reduce<tf.Tensor2D>((sum, delta) => tf.add(sum, delta), plain(weight));
  for (const { turns } of beside.toReversed()) if (turns) w = tf.matMul(w, matrixOf(turns, inFeatures) as tf.Tensor2D);
  for (const l of scales) w = tf.mul(w, l.tensor);
  return w;
}

/** What one term alone changes of a layer's own matrix; `rest` stands in the place of that where it is given. */
export function addedBy(layer: Adaptable, { pair, scale, beside, rest }: Standing): tf.Tensor2D {
  const alone = {
    weight: rest ?? layer.owned('weight'),
    lowRank: pair ? [pair] : [],
    scales: scale ? [scale] : [],
    beside: beside ? [beside] : [],
  };
  const { inFeatures } = layer;
  return tf.sub(whole({ ...alone, inFeatures } as unknown as Layer, layer instanceof Embedding), plain(layer.owned('weight')));
}

/** How merged matrices are kept. */
export interface MergeOptions {
  /** The type of merged matrices. Default: 'bfloat16'. */
  dtype?: Known<'bfloat16' | 'float32'>;
  /** How merged matrices are packed again, which loses what small updates add; null: not at all. Default: null. */
  quantization_config?: BitsAndBytesConfig | null;
}

export const MERGE_DEFAULTS: Required<MergeOptions> = { dtype: 'bfloat16', quantization_config: null };

/** What packs a matrix as `dtype` says, or, where a layer's path is given, as quantization_config does. */
export function packer({
  dtype = 'bfloat16',
  quantization_config = null,
}: MergeOptions = {}): (matrix: tf.Tensor2D, path?: string) => Promise<Weight> {
  if (!Object.hasOwn(FORMATS, dtype))
    throw new OptionError(
      `Merged weights can be kept in ${Object.keys(FORMATS).map(show).join(' or ')}, not in ${show(dtype)}; for fewer bits give quantization_config: new BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' }).`,
    );
  return async (matrix, path) => {
    const wanted = path === undefined ? undefined : quantization_config?.formatOf(`${path}.weight`);
    const format = wanted && matrix.shape[1] % wanted.block === 0 ? wanted : FORMATS[dtype];
    return packedMatrix(await take(matrix), matrix.shape, format);
  };
}

/** The matrices of a model with its adapters merged into them; `undo` and `keep` end that. */
export class Merged {
  private readonly changed: {
    module: Module;
    field: string;
    matrix: Matrix;
    /** What an adapter had put in the place of the module's own. */
    before?: Matrix;
  }[] = [];
  private readonly bared: (Pick<Layer, 'lowRank' | 'scales' | 'beside'> & { layer: Layer })[] = [];

  /** Merges all that stands beside the model's layers. Where memory runs out in the middle, all is as before. */
  static async into(model: Module, options: MergeOptions = {}): Promise<Merged> {
    const pack = packer(options);
    const merged = new Merged();
    try {
      const layers = [...model.namedModules()].flatMap(([path, module]) => (isAdaptable(module) ? [{ path, layer: module as Layer }] : []));
      const tables = layers.some(({ layer }) => layer instanceof Embedding && layer.adapted);
      // A head that shares a table's matrix takes its own before the table's changes, or another takes its place.
      const shares = (layer: Layer) => layer instanceof TiedLinear && tables;
      const wanted = layers.filter(({ layer }) => hasTerms(layer) || shares(layer));
      for (const { path, layer } of wanted.sort((a, b) => Number(shares(b.layer)) - Number(shares(a.layer))))
        await merged.add(layer, (matrix) => pack(matrix, path));
      return merged;
    } catch (error) {
      merged.undo();
      throw error;
    }
  }

  private async add(layer: Layer, pack: Pack): Promise<void> {
    const { lowRank, scales, beside, bias } = layer;
    const fields = new Map<string, Matrix>();
    fields.set('weight', await pack(tf.tidy(() => whole(layer, layer instanceof Embedding))));
    const out = (scales ?? []).filter((l) => scalesOut(l) && !l.sparesBias);
    const more = (beside ?? []).flatMap((term) => (term.bias ? [term.bias] : []));
    if (bias && out.length + more.length) {
      const sum = () => more.reduce<tf.Tensor>((all, b) => tf.add(all, b.tensor), tf.clone(bias.tensor));
      const made = tf.tidy(() => out.reduce<tf.Tensor>((b, l) => tf.mul(b, tf.reshape(l.tensor, [-1])), sum()));
      fields.set('bias', new Parameter(tf.keep(made), false));
    }
    for (const [field, matrix] of fields) this.put(layer, field, matrix);
    this.bared.push({ layer, lowRank, scales, beside });
    layer.lowRank = [];
    if (scales) layer.scales = [];
    if (beside) layer.beside = [];
  }

  /** Puts a matrix that is the merged model's into a module's field. */
  put(module: Module, field: string, matrix: Matrix): void {
    this.changed.push({ module, field, matrix, before: module.swap(field, matrix) });
  }

  /** The matrices and what stood beside them are as they were. */
  undo(): void {
    for (const { module, field, matrix, before } of this.changed.splice(0)) {
      module.swap(field, before);
      matrix.dispose();
    }
    for (const { layer, lowRank, scales, beside } of this.bared.splice(0)) {
      layer.lowRank = lowRank;
      if (scales) layer.scales = scales;
      if (beside) layer.beside = beside;
    }
  }

  /** The merged matrices are the model's own from now on. */
  keep(): void {
    for (const { module, field } of this.changed.splice(0)) module.adopt(field);
    this.bared.length = 0;
  }
}

/**
 * Merges what stands beside a model's layers into them for good, in 16 or 32 bits or packed again. `keep` hands over what adapters have put in the place of
 * tensors, and gives what ends the adapters. Where it fails, all is as before. Says how far the largest logit moved.
 */
export async function mergeForGood(model: BaseModel, options: MergeOptions, keep: (into: Keeping) => Promise<() => void>): Promise<void> {
  const before = await probe(model);
  const merged = await Merged.into(model, options);
  let end: () => void;
  try {
    end = await keep({ pack: packer(options), put: (module, field, matrix) => merged.put(module, field, matrix) });
  } catch (error) {
    merged.undo();
    throw error;
  }
  merged.keep();
  end();
  // A head that has become another than the table is saved as one of its own.
  const { config } = model as { config: { tie_word_embeddings?: boolean } };
  if (config.tie_word_embeddings && [...model.namedTensors()].some(([name]) => name === 'lm_head.weight'))
    config.tie_word_embeddings = false;
  const after = await probe(model);
  if (!before || !after) return;
  const drift = before.reduce((most, value, i) => Math.max(most, Math.abs(value - after[i])), 0);
  const { dtype = 'bfloat16', quantization_config: packed } = options;
  const how = packed ? `Merged and packed as ${packed.load_in_8bit ? 'int8' : packed.bnb_4bit_quant_type} again` : `Merged in ${dtype}`;
  const text = `${how}: the logits of a probe of ${PROBE} tokens moved by ${drift.toPrecision(2)} at most.`;
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

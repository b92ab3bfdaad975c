import { add } from '../engine/ops/add';
import { NotPlanned, type PlannedLayer } from '../engine/ops/decode';
import { dropout } from '../engine/ops/dropout';
import { int8Inputs } from '../engine/ops/int8_inputs';
import { linear, product } from '../engine/ops/linear';
import { withPrecision } from '../engine/precision';
import { numbered, type Projection, type ProjectionTensors } from '../engine/projection';
import * as tf from '../engine/tf';
import { dropoutSeed } from './mode';
import { type Matrix, Module, Parameter } from './module';

/** What a pass reads: a parameter's tensor, or one that is made of others whenever it is asked for, in the scope that asks. */
export interface Read {
  readonly tensor: tf.Tensor;
  readonly shape: number[];
}

/** What is made of trained tensors in each pass. */
export class Made implements Read {
  constructor(
    readonly shape: number[],
    private readonly make: () => tf.Tensor,
  ) {}

  get tensor(): tf.Tensor {
    return tf.tidy(this.make);
  }
}

/** A vector that scales what comes out of a layer, [out, 1], or what goes in, [1, in]. */
export interface Scale extends Read {
  /** The layer's bias is not scaled. */
  readonly sparesBias?: boolean;
}

/** What stands beside a linear layer and is no pair and no vector: maps that merging finds by what they make of the unit vectors. */
export interface Beside {
  /** What becomes of what goes in: x [..., in] -> [..., in] */
  turns?(x: tf.Tensor): tf.Tensor;
  /** What is added to what comes out: x [..., in] -> [..., out] */
  adds?(x: tf.Tensor): tf.Tensor;
  /** What is added to the bias: [out] */
  bias?: Read;
}

/**
 * A trained low-rank term beside a layer with a matrix, a [rank, in], b [out, rank]: scale * dropout(x) a^T b^T beside a linear layer
 * [out, in], scale * b a[:, id] (there is no dropout of words) beside a table of `in` rows of `out` values.
 */
export interface LowRank {
  a: Read;
  b: Read;
  scale: number;
  dropout: number;
  /** Tells this pair's dropout masks from those of others: the same in every process that builds the same adapter. */
  serial: number;
}

/** The pair's dropout in this pass: none outside training. */
function dropoutOf(pair: LowRank): { dropout: number; seed: number } {
  const seed = dropoutSeed();
  return { dropout: seed === undefined ? 0 : pair.dropout, seed: (seed ?? 0) + Math.imul(pair.serial + 1, 0x9e3779b1) };
}

/** What of its layer's inputs a pair takes in this pass: x [..., in] -> [..., in] */
export function dropped(x: tf.Tensor, pair: LowRank): tf.Tensor {
  const { dropout: rate, seed } = dropoutOf(pair);
  return rate ? dropout({ x }, { rate, seed }) : x;
}

/** A layer with a matrix, whose work PEFT methods change by terms beside it. */
export interface Adaptable extends Module {
  readonly weight: Matrix;
  lowRank: LowRank[];
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** Whether a vector scales what comes out, [out, 1], and not what goes in, [1, in]. */
export const scalesOut = ({ shape }: { shape: number[] }): boolean => shape[1] === 1;
const flat = (tensor: tf.Tensor): tf.Tensor => tf.reshape(tensor, [-1]);

/** A vector as a pass has read it. */
interface Vector {
  tensor: tf.Tensor;
  out: boolean;
  sparesBias: boolean;
}

/**
 * y = x W^T + bias, plus its low-rank terms, over a frozen weight of any kind or a trained one; what goes in and what comes out may be
 * scaled by vectors. x [..., in] -> [..., out]
 */
export class Linear extends Module implements Adaptable {
  lowRank: LowRank[] = [];
  /** What scales: [out, 1] or [1, in]. */
  scales: Scale[] = [];
  /** What else stands beside it. */
  beside: Beside[] = [];
  /** Stands for the pair where there is none. */
  private noPair: { a: tf.Tensor; b: tf.Tensor };

  constructor(
    readonly weight: Matrix,
    readonly bias?: Parameter,
  ) {
    super();
    this.noPair = this.emptyPair();
  }

  private emptyPair() {
    return { a: tf.keep(tf.zeros([0, this.inFeatures])), b: tf.keep(tf.zeros([this.outFeatures, 0])) };
  }

  /** Told when its matrix has become one of another size. */
  resized(): void {
    this.release();
    this.noPair = this.emptyPair();
  }

  get outFeatures(): number {
    return this.weight.shape[0];
  }

  get inFeatures(): number {
    return this.weight.shape[1];
  }

  override get adapted(): boolean {
    return super.adapted || this.lowRank.length + this.scales.length + this.beside.length > 0;
  }

  override printedOptions(): string {
    const { weight, bias, inFeatures, outFeatures } = this;
    // As in torch where it is made of numbers; what packs them is said.
    const packed = weight instanceof Parameter || (weight.format.block === 1 && !weight.format.rowHead) ? '' : `, ${weight.format.name}`;
    return `in_features=${inFeatures}, out_features=${outFeatures}, bias=${bias ? 'True' : 'False'}${packed}`;
  }

  private get vectors(): Vector[] {
    return this.scales.map((l) => ({ tensor: l.tensor, out: scalesOut(l), sparesBias: Boolean(l.sparesBias) }));
  }

  /** What is added before these vectors scale what comes out: the bias, over those of them that spare it. */
  private biasUnder(vectors: Vector[]): tf.Tensor | undefined {
    const all = [this.bias, ...this.beside.map(({ bias }) => bias)].flatMap((bias) => (bias ? [bias.tensor] : []));
    if (!all.length) return undefined;
    const spares = vectors.filter(({ sparesBias }) => sparesBias);
    return spares.reduce(
      (bias, l) => tf.div(bias, flat(l.tensor)),
      all.reduce((sum, bias) => tf.add(sum, bias)),
    );
  }

  /** What an op is told of this layer with one of its low-rank terms, and with its one vector where it has room for it. */
  private told(pair: LowRank | undefined, vectors: Vector[], l?: Vector): { tensors: ProjectionTensors; projection: Projection } {
    const { weight, noPair } = this;
    const w = weight instanceof Parameter ? weight.tensor : undefined;
    const frozen = weight instanceof Parameter ? undefined : weight;
    const rest = { bias: this.biasUnder(vectors), l: l?.tensor };
    return pair
      ? {
          tensors: { w, a: pair.a.tensor, b: pair.b.tensor, ...rest },
          projection: { weight: frozen, scale: pair.scale, ...dropoutOf(pair) },
        }
      : { tensors: { w, ...noPair, ...rest }, projection: { weight: frozen, scale: 0 } };
  }

  /** The product with a matrix of its shape alone, by default that which stands in it, in full precision: x [..., in] -> [..., out] */
  times(x: tf.Tensor, weight: Matrix = this.weight): tf.Tensor {
    const { noPair } = this;
    if (weight instanceof Parameter) return product(x, weight.tensor);
    return withPrecision('fp32', () => linear({ x, a0: noPair.a, b0: noPair.b }, { weight, scale: 0 }));
  }

  /** LLM.int8()'s threshold, where what goes into the matrix's product is rounded in this pass. */
  private get rounding(): number | undefined {
    return this.weight instanceof Parameter || dropoutSeed() !== undefined ? undefined : this.weight.inputThreshold;
  }

  /** Whether one op has room for all terms beside this layer; `alone`: its input is no other layer's. */
  private fits(alone: boolean): boolean {
    const { lowRank, scales, beside, weight } = this;
    if (this.rounding !== undefined || lowRank.length > 1 || scales.length > 1) return false;
    if (beside.some(({ turns, adds }) => turns || adds)) return false;
    const [l] = scales;
    return !l || (!(weight instanceof Parameter) && (scalesOut(l) || (alone && !lowRank.length)));
  }

  /** What an op that does the work of several layers needs; undefined where it has no room for their terms. `alone`: whose input is its own. */
  static together<N extends string>(
    layers: Record<N, Linear>,
    alone?: NoInfer<N>,
  ): { tensors: ReturnType<typeof numbered>; projections: Record<N, Projection> } | undefined {
    const tensors: ProjectionTensors[] = [];
    const projections: Partial<Record<N, Projection>> = {};
    for (const name in layers) {
      const layer = layers[name];
      if (!layer.fits(name === alone)) return undefined;
      const { vectors } = layer;
      const part = layer.told(layer.lowRank[0], vectors, vectors[0]);
      tensors.push(part.tensors);
      projections[name] = part.projection;
    }
    return { tensors: numbered(tensors), projections: projections as Record<N, Projection> };
  }

  forward(x: tf.Tensor): tf.Tensor {
    const { lowRank, vectors, beside, rounding } = this;
    const inOneOp = this.fits(true);
    // A pair in the same op has the same input.
    const [first, ...others] = rounding === undefined ? lowRank : [undefined, ...lowRank];
    const { tensors, projection } = this.told(first, vectors, inOneOp ? vectors[0] : undefined);
    if (inOneOp) return linear({ x, ...numbered([tensors]) }, projection);
    let input = x;
    for (const { tensor, out } of vectors) if (!out) input = tf.mul(input, flat(tensor));
    for (const { turns } of beside) if (turns) input = turns(input);
    let y = linear({ x: rounding === undefined ? input : int8Inputs(input, rounding), ...numbered([tensors]) }, projection);
    for (const pair of others) if (pair) y = tf.add(y, product(Linear.down(input, pair), pair.b.tensor));
    for (const { adds } of beside) if (adds) y = add({ a: y, b: adds(input) }, {});
    for (const { tensor, out } of vectors) if (out) y = tf.mul(y, flat(tensor));
    return y;
  }

  /** Its low-rank terms as one, u b^T with u [..., rank] made of x, for ops that have room for a pair beside the matrix; {} without any. */
  pair(x: tf.Tensor): { u?: tf.Tensor; b?: tf.Tensor } {
    const { lowRank } = this;
    if (!lowRank.length) return {};
    const joined = (parts: tf.Tensor[]) => (parts.length > 1 ? tf.concat(parts, -1) : parts[0]);
    return { u: joined(lowRank.map((pair) => Linear.down(x, pair))), b: joined(lowRank.map(({ b }) => b.tensor)) };
  }

  /** scale * dropout(x) a^T */
  private static down(x: tf.Tensor, pair: LowRank): tf.Tensor {
    return tf.mul(product(dropped(x, pair), pair.a.tensor), pair.scale);
  }

  /** This layer with all its terms, as the decode op takes it: tensors of the scope that calls. */
  planned(): PlannedLayer {
    const { weight, vectors, lowRank } = this;
    if (this.beside.some(({ turns, adds }) => turns || adds))
      throw new NotPlanned('beside a linear layer stands what the decode op has not');
    return {
      weight: weight instanceof Parameter ? weight.tensor : weight,
      bias: this.biasUnder(vectors),
      scales: vectors.map(({ tensor, out }) => ({ vector: tensor, out })),
      pairs: lowRank.map(({ a, b, scale }) => ({ a: a.tensor, b: b.tensor, scale })),
    };
  }

  protected override release(): void {
    this.noPair.a.dispose();
    this.noPair.b.dispose();
  }
}

/** A linear layer whose matrix files have as [in, out]. */
export class Conv1D extends Linear {
  override turned(field: string): boolean {
    return field === 'weight';
  }
}

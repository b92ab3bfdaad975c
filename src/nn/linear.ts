import type { PlannedLayer } from '../engine/ops/decode';
import { dropout } from '../engine/ops/dropout';
import { int8Inputs } from '../engine/ops/int8_inputs';
import { linear, product } from '../engine/ops/linear';
import { numbered, type Projection, type ProjectionTensors } from '../engine/projection';
import * as tf from '../engine/tf';
import { dropoutSeed } from './mode';
import { type Matrix, Module, Parameter } from './module';

/**
 * A trained low-rank term beside a layer with a matrix, a [rank, in], b [out, rank]: scale * dropout(x) a^T b^T beside a linear layer
 * [out, in], scale * b a[:, id] (there is no dropout of words) beside a table of `in` rows of `out` values.
 */
export interface LowRank {
  a: Parameter;
  b: Parameter;
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

/** A layer with a matrix, whose work PEFT methods change by terms beside it. */
export interface Adaptable extends Module {
  readonly weight: Matrix;
  lowRank: LowRank[];
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** Whether a vector scales what comes out, [out, 1], and not what goes in, [1, in]. */
const scalesOut = ({ shape }: Parameter): boolean => shape[1] === 1;
const flat = ({ tensor }: Parameter): tf.Tensor => tf.reshape(tensor, [-1]);

/**
 * y = x W^T + bias, plus its low-rank terms, over a frozen weight of any kind or a trained one; what goes in and what comes out may be
 * scaled by vectors. x [..., in] -> [..., out]
 */
export class Linear extends Module implements Adaptable {
  lowRank: LowRank[] = [];
  /** What scales: [out, 1] or [1, in]. */
  scales: Parameter[] = [];
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
    return super.adapted || this.lowRank.length + this.scales.length > 0;
  }

  override printedOptions(): string {
    const { weight, bias, inFeatures, outFeatures } = this;
    // As in torch where it is made of numbers; what packs them is said.
    const packed = weight instanceof Parameter || (weight.format.block === 1 && !weight.format.rowHead) ? '' : `, ${weight.format.name}`;
    return `in_features=${inFeatures}, out_features=${outFeatures}, bias=${bias ? 'True' : 'False'}${packed}`;
  }

  /** What an op is told of this layer with one of its low-rank terms and one of its vectors. */
  private told(pair?: LowRank, l?: Parameter): { tensors: ProjectionTensors; projection: Projection } {
    const { weight, bias, noPair } = this;
    const w = weight instanceof Parameter ? weight.tensor : undefined;
    const frozen = weight instanceof Parameter ? undefined : weight;
    const rest = { bias: bias?.tensor, l: l?.tensor };
    return pair
      ? {
          tensors: { w, a: pair.a.tensor, b: pair.b.tensor, ...rest },
          projection: { weight: frozen, scale: pair.scale, ...dropoutOf(pair) },
        }
      : { tensors: { w, ...noPair, ...rest }, projection: { weight: frozen, scale: 0 } };
  }

  /** LLM.int8()'s threshold, where what goes into the matrix's product is rounded in this pass. */
  private get rounding(): number | undefined {
    return this.weight instanceof Parameter || dropoutSeed() !== undefined ? undefined : this.weight.inputThreshold;
  }

  /** Whether one op has room for all terms beside this layer; `alone`: its input is no other layer's. */
  private fits(alone: boolean): boolean {
    const { lowRank, scales, weight } = this;
    if (this.rounding !== undefined || lowRank.length > 1 || scales.length > 1) return false;
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
      const part = layer.told(layer.lowRank[0], layer.scales[0]);
      tensors.push(part.tensors);
      projections[name] = part.projection;
    }
    return { tensors: numbered(tensors), projections: projections as Record<N, Projection> };
  }

  forward(x: tf.Tensor): tf.Tensor {
    const { lowRank, scales, rounding } = this;
    const inOneOp = this.fits(true);
    // A pair in the same op has the same input.
    const [first, ...others] = rounding === undefined ? lowRank : [undefined, ...lowRank];
    const { tensors, projection } = this.told(first, inOneOp ? scales[0] : undefined);
    if (inOneOp) return linear({ x, ...numbered([tensors]) }, projection);
    let input = x;
    for (const l of scales) if (!scalesOut(l)) input = tf.mul(input, flat(l));
    let y = linear({ x: rounding === undefined ? input : int8Inputs(input, rounding), ...numbered([tensors]) }, projection);
    for (const pair of others) if (pair) y = tf.add(y, product(Linear.down(input, pair), pair.b.tensor));
    for (const l of scales) if (scalesOut(l)) y = tf.mul(y, flat(l));
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
    const { dropout: rate, seed } = dropoutOf(pair);
    return tf.mul(product(rate ? dropout({ x }, { rate, seed }) : x, pair.a.tensor), pair.scale);
  }

  /** This layer with all its terms, as the decode op takes it. */
  planned(): PlannedLayer {
    const { weight, bias, scales, lowRank } = this;
    return {
      weight: weight instanceof Parameter ? weight.tensor : weight,
      bias: bias?.tensor,
      scales: scales.map((l) => ({ vector: l.tensor, out: scalesOut(l) })),
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

/**
 * The output head of a model whose embedding table serves as its matrix too: what becomes of the table's own matrix becomes of this
 * one's, but what stands in the place of one is not in that of the other.
 */
export class TiedLinear extends Linear {
  /** What another has put in the place of the shared matrix: not listed, as that is not. */
  #other?: Matrix;
  /** It has become a head with a matrix of its own. */
  #apart = false;

  constructor(private readonly table: () => Module & { weight: Matrix }) {
    super(table().weight);
    // No field: the matrix is listed, saved and freed once, under its owner's name.
    Object.defineProperty(this, 'weight', {
      get: () => this.#other ?? this.table().owned('weight'),
      enumerable: false,
      configurable: true,
    });
  }

  override get printedName(): string {
    return 'Linear';
  }

  override get adapted(): boolean {
    return super.adapted || this.#other !== undefined;
  }

  override swap(field: string, other?: Matrix): Matrix | undefined {
    if (field !== 'weight' || this.#apart) return super.swap(field, other);
    const before = this.#other;
    this.#other = other;
    return before;
  }

  override owned(field: string): Matrix {
    return field !== 'weight' || this.#apart ? super.owned(field) : this.table().owned(field);
  }

  override exchange(field: string, matrix: Matrix): Matrix {
    return field !== 'weight' || this.#apart ? super.exchange(field, matrix) : this.table().exchange(field, matrix);
  }

  /** The table's matrix stays the table's. */
  override adopt(field: string): void {
    if (field !== 'weight' || this.#apart) super.adopt(field);
    else {
      Object.defineProperty(this, 'weight', { value: this.weight, writable: true, enumerable: true, configurable: true });
      this.#apart = true;
      this.#other = undefined;
    }
  }
}

import { dropout } from '../engine/ops/dropout';
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

/** A layer that low-rank terms can stand beside. */
export interface Adaptable extends Module {
  readonly weight: Matrix;
  /** Set by PEFT methods. */
  lowRank: LowRank[];
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** y = x W^T + bias, plus its low-rank terms, over a frozen weight of any kind or a trained one. x [..., in] -> [..., out] */
export class Linear extends Module implements Adaptable {
  lowRank: LowRank[] = [];
  /** Stands for the pair where there is none. */
  private readonly noPair: { a: tf.Tensor; b: tf.Tensor };

  constructor(
    readonly weight: Matrix,
    readonly bias?: Parameter,
  ) {
    super();
    this.noPair = { a: tf.keep(tf.zeros([0, this.inFeatures])), b: tf.keep(tf.zeros([this.outFeatures, 0])) };
  }

  get outFeatures(): number {
    return this.weight.shape[0];
  }

  get inFeatures(): number {
    return this.weight.shape[1];
  }

  /** What ops do of this layer's work: all but the low-rank terms behind the first. */
  private main(): { tensors: ProjectionTensors; projection: Projection } {
    const { weight, bias, noPair, lowRank } = this;
    const [pair] = lowRank;
    const w = weight instanceof Parameter ? weight.tensor : undefined;
    const frozen = weight instanceof Parameter ? undefined : weight;
    return pair
      ? {
          tensors: { w, a: pair.a.tensor, b: pair.b.tensor, bias: bias?.tensor },
          projection: { weight: frozen, scale: pair.scale, ...dropoutOf(pair) },
        }
      : { tensors: { w, ...noPair, bias: bias?.tensor }, projection: { weight: frozen, scale: 0 } };
  }

  /** What an op that does the work of several layers needs; undefined where one has several low-rank terms, for which no op has room. */
  static together<N extends string>(
    layers: Record<N, Linear>,
  ): { tensors: ReturnType<typeof numbered>; projections: Record<N, Projection> } | undefined {
    const tensors: ProjectionTensors[] = [];
    const projections: Partial<Record<N, Projection>> = {};
    for (const name in layers) {
      if (layers[name].lowRank.length > 1) return undefined;
      const part = layers[name].main();
      tensors.push(part.tensors);
      projections[name] = part.projection;
    }
    return { tensors: numbered(tensors), projections: projections as Record<N, Projection> };
  }

  forward(x: tf.Tensor): tf.Tensor {
    const { tensors, projection } = this.main();
    let y = linear({ x, ...numbered([tensors]) }, projection);
    for (const pair of this.lowRank.slice(1)) y = tf.add(y, product(Linear.down(x, pair), pair.b.tensor));
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

  protected override release(): void {
    this.noPair.a.dispose();
    this.noPair.b.dispose();
  }
}

/** The output head of a model whose embedding table serves as its matrix too: what happens to the table's matrix happens to this one's. */
export class TiedLinear extends Linear {
  constructor(table: { weight: Matrix }) {
    super(table.weight);
    // No field: the matrix is listed, saved and freed once, under its owner's name.
    Object.defineProperty(this, 'weight', {
      get: () => table.weight,
      set: (weight: Matrix) => Object.assign(table, { weight }),
      enumerable: false,
      configurable: true,
    });
  }
}

import * as tf from '../engine/tf';
import { type Adaptable, Embedding, type Linear, type LowRank, Made, type Matrix, Parameter } from '../nn';
import { bracketed } from '../nn/printed';
import { type Adapter, ModuleAdapter, type Term } from './adapter';
import { besideDropped, Magnitude } from './dora';
import { LinearTerm } from './linear_term';
import { dropoutText, moduleDict, parameterDict } from './printed';

/** A pair whose halves are trained themselves. */
export type TrainedPair = LowRank & { a: Parameter; b: Parameter };

interface Besides {
  /** What stands in the place of the layer's matrix: it becomes the term's. */
  rest?: Matrix;
  /** The rows' lengths are trained on their own. */
  dora?: boolean;
  /** A bias is trained beside b. */
  bias?: boolean;
}

/** A low-rank pair beside one layer. */
export class LoraTerm extends LinearTerm {
  private readonly magnitude?: Magnitude;

  constructor(
    layer: Adaptable,
    readonly pair: TrainedPair,
    { rest, dora, bias }: Besides = {},
  ) {
    const [a, b] = layer instanceof Embedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight'];
    const magnitude = dora ? new Magnitude(layer as Linear, pair, rest) : undefined;
    const added = bias ? new Parameter(tf.keep(tf.zeros([layer.outFeatures]))) : undefined;
    const biased = added && { bias: new Made(added.shape, () => tf.mul(added.tensor, pair.scale)) };
    const beside = magnitude && pair.dropout ? besideDropped(layer as Linear, pair, magnitude) : biased;
    super(
      layer,
      {
        ...{ [a]: pair.a, [b]: pair.b },
        ...(added && { 'lora_B.bias': added }),
        ...(magnitude && { lora_magnitude_vector: magnitude.magnitude }),
      },
      { pair, rest, scale: magnitude, beside },
    );
    this.magnitude = magnitude;
  }

  override get alone(): boolean {
    return Boolean(this.its.rest || this.its.scale);
  }

  override release(): void {
    super.release();
    this.magnitude?.dispose();
  }

  override printed(base: string, terms: readonly (readonly [string, Term])[]): string {
    const mine = terms.flatMap(([name, term]) => (term instanceof LoraTerm ? [[name, term] as const] : []));
    const pairs = mine.map(([name, term]) => [name, term.pair] as const);
    const inTable = this.layer instanceof Embedding;
    const dropout = pairs.map(([name, { dropout: p }]) => [name, dropoutText(p)] as const);
    const linear = ([into, out]: number[], bias = false) =>
      `Linear(in_features=${into}, out_features=${out}, bias=${bias ? 'True' : 'False'})`;
    const matrices = (of: 'a' | 'b') =>
      moduleDict(
        inTable
          ? []
          : mine.map(
              ([name, { pair, its }]) => [name, linear(pair[of].shape.toReversed(), of === 'b' && Boolean(its.beside?.bias))] as const,
            ),
      );
    const tables = (of: 'a' | 'b') => parameterDict(inTable ? pairs.map(([name, pair]) => [name, pair[of]] as const) : []);
    const lengths = mine.flatMap(([name, { magnitude }]) => (magnitude ? [[name, 'lora.dora.DoraLinearLayer()'] as const] : []));
    return bracketed(inTable ? 'lora.Embedding' : 'lora.Linear', [
      `(base_layer): ${base}`,
      `(lora_dropout): ${moduleDict(dropout)}`,
      `(lora_A): ${matrices('a')}`,
      `(lora_B): ${matrices('b')}`,
      `(lora_embedding_A): ${tables('a')}`,
      `(lora_embedding_B): ${tables('b')}`,
      `(lora_magnitude_vector): ${moduleDict(lengths)}`,
    ]);
  }
}

/** The pairs of adapters that are nothing else, by the paths of the modules that they stand beside; undefined where there is more to one. */
export function plainPairs(adapters: readonly Adapter[]): Map<string, TrainedPair> | undefined {
  const terms = adapters.flatMap((adapter) => (adapter instanceof ModuleAdapter ? [...adapter.terms] : [undefined]));
  const pairs = new Map<string, TrainedPair>();
  for (const at of terms) {
    if (!(at?.[1].term instanceof LoraTerm) || at[1].term.isMore) return undefined;
    pairs.set(at[0], at[1].term.pair);
  }
  return pairs;
}

/** The pairs among what adapters have put into a model, by the paths of the modules that they stand beside. */
export const pairsIn = (adapters: Iterable<Adapter>): Map<string, TrainedPair> =>
  new Map(
    [...adapters].flatMap((adapter) =>
      adapter instanceof ModuleAdapter
        ? [...adapter.terms].flatMap(([path, { term }]) => (term instanceof LoraTerm ? [[path, term.pair] as const] : []))
        : [],
    ),
  );

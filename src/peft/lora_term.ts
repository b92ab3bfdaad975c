import * as tf from '../engine/tf';
import { type Adaptable, type Beside, Embedding, type Linear, type LowRank, Made, type Matrix, Parameter } from '../nn';
import { bracketed } from '../nn/printed';
import { Magnitude } from './dora';
import { type Adapter, ModuleAdapter, type Term } from './method';
import { moduleDict, parameterDict } from './printed';

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
export class LoraTerm implements Term {
  readonly parameters: Record<string, Parameter>;
  /** The layer has one that does so at a time. */
  readonly alone: boolean;
  private readonly magnitude?: Magnitude;
  private readonly beside?: Beside;
  private readonly rest?: Matrix;

  constructor(
    private readonly layer: Adaptable,
    readonly pair: TrainedPair,
    { rest, dora, bias }: Besides = {},
  ) {
    const [a, b] = layer instanceof Embedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight'];
    this.parameters = { [a]: pair.a, [b]: pair.b };
    this.rest = rest;
    this.alone = Boolean(rest || dora);
    if (bias) {
      const added = new Parameter(tf.keep(tf.zeros([layer.outFeatures])));
      this.parameters['lora_B.bias'] = added;
      this.beside = { bias: new Made(added.shape, () => tf.mul(added.tensor, pair.scale)) };
    }
    if (!dora) return;
    this.stand(true);
    this.magnitude = new Magnitude(layer as Linear, pair);
    this.stand(false);
    this.parameters.lora_magnitude_vector = this.magnitude.magnitude;
  }

  /** Whether there is more than the pair. */
  get isMore(): boolean {
    return Boolean(this.rest || this.magnitude || this.beside);
  }

  private stand(there: boolean): void {
    if (this.rest) this.layer.swap('weight', there ? this.rest : undefined);
  }

  attach(): void {
    const layer = this.layer as Linear;
    this.stand(true);
    layer.lowRank = [...layer.lowRank, this.pair];
    if (this.magnitude) layer.scales = [...layer.scales, this.magnitude];
    if (this.beside) layer.beside = [...layer.beside, this.beside];
  }

  detach(): void {
    const layer = this.layer as Linear;
    layer.lowRank = layer.lowRank.filter((pair) => pair !== this.pair);
    if (this.magnitude) layer.scales = layer.scales.filter((l) => l !== this.magnitude);
    if (this.beside) layer.beside = layer.beside.filter((term) => term !== this.beside);
    this.stand(false);
  }

  release(): void {
    this.rest?.dispose();
    this.magnitude?.dispose();
  }

  /** The same with what it trains. */
  free(): void {
    this.release();
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }

  printed(base: string, terms: readonly (readonly [string, Term])[]): string {
    const mine = terms.flatMap(([name, term]) => (term instanceof LoraTerm ? [[name, term] as const] : []));
    const pairs = mine.map(([name, term]) => [name, term.pair] as const);
    const inTable = this.layer instanceof Embedding;
    const dropout = pairs.map(([name, { dropout: p }]) => [name, p ? `Dropout(p=${p}, inplace=False)` : 'Identity()'] as const);
    const linear = ([into, out]: number[], bias = false) =>
      `Linear(in_features=${into}, out_features=${out}, bias=${bias ? 'True' : 'False'})`;
    const matrices = (of: 'a' | 'b') =>
      moduleDict(
        inTable ? [] : mine.map(([name, { pair, beside }]) => [name, linear(pair[of].shape.toReversed(), of === 'b' && Boolean(beside))] as const),
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

/** The pairs among what adapters have put into a model, by the paths of the modules that they stand beside. */
export const pairsIn = (adapters: Iterable<Adapter>): Map<string, TrainedPair> =>
  new Map(
    [...adapters].flatMap((adapter) =>
      adapter instanceof ModuleAdapter
        ? [...adapter.terms].flatMap(([path, { term }]) => (term instanceof LoraTerm ? [[path, term.pair] as const] : []))
        : [],
    ),
  );

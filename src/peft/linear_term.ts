import { type Adaptable, type Beside, type Linear, type LowRank, type Matrix, Parameter, type Scale } from '../nn';
import { bracketed } from '../nn/printed';
import type { Term } from './adapter';
import { moduleDict, parameterDict } from './printed';

/** What a term puts beside its layer, of each sort that a layer has room for. */
export interface Standing {
  pair?: LowRank;
  scale?: Scale;
  beside?: Beside;
  /** What stands in the place of the layer's matrix, frozen; it becomes the term's. */
  rest?: Matrix;
  /** It fits the layer's own matrix alone, so that no other of its sort can stand beside it. */
  only?: boolean;
}

/** What PEFT prints of it: the name of its class, and its parts by name, each a parameter or the text of a module. */
export interface Words {
  name: string;
  parts: Record<string, Parameter | string>;
}

/** What stands beside one layer with a matrix. */
export class LinearTerm implements Term {
  constructor(
    protected readonly layer: Adaptable,
    readonly parameters: Record<string, Parameter>,
    protected readonly its: Standing,
    private readonly words?: Words,
  ) {}

  /** The layer has one of these at a time. */
  get alone(): boolean {
    return Boolean(this.its.rest || this.its.only);
  }

  /** Whether there is more than a pair. */
  get isMore(): boolean {
    const { scale, beside, rest } = this.its;
    return Boolean(scale || beside || rest);
  }

  /** What it puts beside its layer. */
  get standing(): Standing {
    return this.its;
  }

  /** Whether it changes what its layer's bias adds. */
  get movesBias(): boolean {
    const { scale, beside } = this.its;
    return Boolean(beside?.bias || (scale && !scale.sparesBias && scale.shape[1] === 1 && (this.layer as Linear).bias));
  }

  attach(): void {
    const { pair, scale, beside, rest } = this.its;
    const layer = this.layer as Linear;
    if (rest) layer.swap('weight', rest);
    if (pair) layer.lowRank = [...layer.lowRank, pair];
    if (scale) layer.scales = [...layer.scales, scale];
    if (beside) layer.beside = [...layer.beside, beside];
  }

  detach(): void {
    const { pair, scale, beside, rest } = this.its;
    const layer = this.layer as Linear;
    if (pair) layer.lowRank = layer.lowRank.filter((other) => other !== pair);
    if (scale) layer.scales = layer.scales.filter((other) => other !== scale);
    if (beside) layer.beside = layer.beside.filter((other) => other !== beside);
    if (rest) layer.swap('weight');
  }

  release(): void {
    this.its.rest?.dispose();
  }

  /** The same with what it trains. */
  free(): void {
    this.release();
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }

  printed(base: string, terms: readonly (readonly [string, Term])[]): string {
    if (!this.words) return base;
    const mine = terms.flatMap(([name, term]) => (term instanceof LinearTerm && term.words ? [[name, term.words.parts] as const] : []));
    const lines = Object.entries(this.words.parts).map(([part, first]) => {
      if (first instanceof Parameter)
        return `(${part}): ${parameterDict(mine.flatMap(([name, parts]) => (part in parts ? [[name, parts[part] as Parameter] as const] : [])))}`;
      return `(${part}): ${moduleDict(mine.flatMap(([name, parts]) => (part in parts ? [[name, parts[part] as string] as const] : [])))}`;
    });
    return bracketed(this.words.name, [`(base_layer): ${base}`, ...lines]);
  }
}

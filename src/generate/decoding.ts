import { endIfInterrupted } from '../core/interrupt';
import { take } from '../engine/backend';
import { type DecoderPlan, NativeDecoder, NotPlanned, type StepRow } from '../engine/ops/decode';
import * as tf from '../engine/tf';
import type { KeyValueCache } from '../nn';

/** What tokens can be predicted with. */
export interface Decodes {
  hidden(ids: tf.Tensor2D, options: { cache: KeyValueCache }): tf.Tensor3D;
  logits(hidden: tf.Tensor2D): tf.Tensor2D;
  newCache(capacity: number): KeyValueCache;
  /** How the decode op runs it; a NotPlanned error where that cannot. */
  plan(): DecoderPlan;
}

/** Tokens that a sequence goes on with; sequences are known by small numbers. */
export interface Continued {
  sequence: number;
  tokens: number[];
}

/** Sequences of different lengths, with their keys and values, that are continued together. */
export interface Decoding {
  /** Why this is not the one op that it can be; undefined where it is. */
  readonly whyNot?: string;
  /** Appends tokens; returns the logits after the last of each sequence, [vocabulary]. */
  step(parts: Continued[]): Promise<Float32Array[]>;
  /** The same, and the likeliest token of each instead of the logits. */
  likeliest(parts: Continued[]): Promise<number[]>;
  /** Makes `to` a copy of the first `length` positions of `from` (by default all), or cuts a sequence off there. */
  copy(from: number, to: number, length?: number): void;
  dispose(): void;
}

/** Tokens of a prompt that go through the model at once: an interrupt waits for no more. */
const AT_ONCE = 256;

class InOneOp implements Decoding {
  private readonly decoder: NativeDecoder;
  private readonly lengths: number[] = [];

  constructor(private readonly plan: DecoderPlan) {
    this.decoder = new NativeDecoder(plan);
  }

  async step(parts: Continued[]): Promise<Float32Array[]> {
    const all = await this.run(parts, false);
    return all.flatMap(([logits, count]) =>
      Array.from({ length: count }, (_, i) => logits.subarray((logits.length / count) * i, (logits.length / count) * (i + 1))),
    );
  }

  async likeliest(parts: Continued[]): Promise<number[]> {
    return (await this.run(parts, true)).flatMap(([best]) => [...best]);
  }

  /** What is wanted of the blocks of rows that the parts come to, in order, and of how many sequences. */
  private async run(parts: Continued[], likeliest: boolean): Promise<[values: Float32Array, sequences: number][]> {
    this.begin(parts.filter(({ sequence }) => !this.lengths[sequence]).map(({ sequence }) => sequence));
    const rows: StepRow[] = parts.flatMap(({ sequence, tokens }) => {
      const from = this.lengths[sequence] ?? 0;
      this.lengths[sequence] = from + tokens.length;
      return tokens.map((token, i) => ({ token, sequence, position: from + i, wanted: i === tokens.length - 1 }));
    });
    const made: [Float32Array, number][] = [];
    for (let i = 0; i < rows.length; i += AT_ONCE) {
      endIfInterrupted();
      const block = rows.slice(i, i + AT_ONCE);
      const wanted = block.filter((row) => row.wanted).length;
      const values = await take(this.decoder.step(block, likeliest));
      if (wanted) made.push([values, wanted]);
    }
    return made;
  }

  /** A learned prompt stands before every sequence. */
  private begin(sequences: number[]): void {
    const { prompt } = this.plan;
    for (const sequence of prompt ? sequences : []) {
      tf.tidy(() => {
        const rows = (prompt as () => tf.Tensor2D)();
        const told = Array.from({ length: rows.shape[0] }, (_, position) => ({ token: -1, sequence, position, wanted: false }));
        this.decoder.step(told, false, rows);
        this.lengths[sequence] = told.length;
      });
    }
  }

  copy(from: number, to: number, length = this.lengths[from]): void {
    this.decoder.copy(from, to, length);
    this.lengths[to] = length;
  }

  dispose(): void {
    this.decoder.dispose();
  }
}

/** The model's own ops, one sequence after another. */
class Composed implements Decoding {
  private readonly caches: KeyValueCache[] = [];
  private readonly tokens: number[][] = [];

  constructor(
    private readonly model: Decodes,
    private readonly capacity: number,
    readonly whyNot: string,
  ) {}

  async step(parts: Continued[]): Promise<Float32Array[]> {
    const made: Float32Array[] = [];
    for (const { sequence, tokens } of parts) {
      this.caches[sequence] ??= this.model.newCache(this.capacity);
      const cache = this.caches[sequence];
      const row: tf.Tensor = tf.tidy(() => {
        const hidden = this.model.hidden(tf.tensor2d([tokens], [1, tokens.length], 'int32'), { cache });
        return this.model.logits(tf.slice(hidden, [0, tokens.length - 1, 0], [1, 1, -1]).reshape([1, -1]));
      });
      this.tokens[sequence] = [...(this.tokens[sequence] ?? []), ...tokens];
      made.push(await take(row));
    }
    return made;
  }

  async likeliest(parts: Continued[]): Promise<number[]> {
    return (await this.step(parts)).map((logits) => logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0));
  }

  /** By computing it again: caches of the model's own ops have no copies. */
  copy(from: number, to: number, length = this.tokens[from].length): void {
    const tokens = this.tokens[from].slice(0, length);
    this.caches[to]?.dispose();
    this.caches[to] = this.model.newCache(this.capacity);
    this.tokens[to] = tokens;
    if (tokens.length) tf.tidy(() => this.model.hidden(tf.tensor2d([tokens], [1, tokens.length], 'int32'), { cache: this.caches[to] }));
  }

  dispose(): void {
    for (const cache of this.caches) cache?.dispose();
  }
}

/** Begins to decode with a model, by the decode op where that can; each sequence has at most `capacity` tokens. */
export function startDecoding(model: Decodes, capacity: number): Decoding {
  try {
    return new InOneOp(model.plan());
  } catch (error) {
    if (!(error instanceof NotPlanned)) throw error;
    return new Composed(model, capacity, error.message);
  }
}

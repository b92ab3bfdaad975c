import { endIfInterrupted } from '../core/interrupt';
import { take } from '../engine/backend';
import * as tf from '../engine/tf';
import type { KeyValueCache } from '../nn';
import type { Continued, Decodes, Decoding } from './decoding';
import type { RowAdapters } from './row_adapters';

/** The model's own ops, one sequence after another. */
export class Composed implements Decoding {
  private readonly caches: KeyValueCache[] = [];
  private readonly tokens: number[][] = [];
  private readonly adapters: (string | undefined)[] = [];

  constructor(
    private readonly model: Decodes,
    private readonly capacity: number,
    readonly whyNot: string,
    private readonly rows?: RowAdapters,
  ) {}

  async step(parts: Continued[]): Promise<Float32Array[]> {
    const made: Float32Array[] = [];
    for (const part of parts) made.push(await this.read(part, part.tokens.length - 1));
    return made;
  }

  async every(part: Continued): Promise<Float32Array[]> {
    const count = part.tokens.length;
    const all = await this.read(part, 0);
    return Array.from({ length: count }, (_, i) => all.subarray((all.length / count) * i, (all.length / count) * (i + 1)));
  }

  /** Appends tokens; the logits after those from one of them on. */
  private async read({ sequence, tokens, adapter }: Continued, from: number): Promise<Float32Array> {
    endIfInterrupted();
    this.adapters[sequence] = adapter;
    this.caches[sequence] ??= this.model.newCache(this.capacity);
    const cache = this.caches[sequence];
    const rows: tf.Tensor = this.wearing(adapter, () => {
      const hidden = this.model.hidden(tf.tensor2d([tokens], [1, tokens.length], 'int32'), { cache });
      return this.model.logits(tf.slice(hidden, [0, from, 0], [1, tokens.length - from, -1]).reshape([tokens.length - from, -1]));
    });
    this.tokens[sequence] = [...(this.tokens[sequence] ?? []), ...tokens];
    return (await take(rows)) as Float32Array;
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
    this.adapters[to] = this.adapters[from];
    if (tokens.length)
      this.wearing(this.adapters[to], () =>
        this.model.hidden(tf.tensor2d([tokens], [1, tokens.length], 'int32'), { cache: this.caches[to] }),
      ).dispose();
  }

  /** In a scope of its own. */
  private wearing<T extends tf.Tensor>(adapter: string | undefined, f: () => T): T {
    return tf.tidy(() => (this.rows ? this.rows.wearing(adapter, f) : f()));
  }

  release(sequence: number): void {
    this.caches[sequence]?.dispose();
    delete this.caches[sequence];
    delete this.tokens[sequence];
  }

  dispose(): void {
    for (const cache of this.caches) cache?.dispose();
  }
}

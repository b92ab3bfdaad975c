import { endIfInterrupted } from '../core/interrupt';
import { take } from '../engine/backend';
import { type DecoderPlan, NativeDecoder, type StepRow } from '../engine/ops/decode';
import * as tf from '../engine/tf';
import type { Continued, Decoding } from './decoding';

/** Tokens of a prompt that go through the model at once: an interrupt waits for no more. */
const AT_ONCE = 256;

/** The whole model as one op a step. */
export class InOneOp implements Decoding {
  private readonly decoder: NativeDecoder;
  private readonly lengths: number[] = [];

  /** `slots`: the bits of the plan's slots that a row's adapter stands for; without a name those of the active ones. */
  constructor(
    private readonly plan: DecoderPlan,
    private readonly slots: (adapter?: string) => number = () => 1,
  ) {
    this.decoder = new NativeDecoder(plan);
  }

  step(parts: Continued[]): Promise<Float32Array[]> {
    return this.logits(parts, false);
  }

  every(part: Continued): Promise<Float32Array[]> {
    return this.logits([part], true);
  }

  private async logits(parts: Continued[], every: boolean): Promise<Float32Array[]> {
    const all = await this.run(parts, false, every);
    return all.flatMap(([logits, count]) =>
      Array.from({ length: count }, (_, i) => logits.subarray((logits.length / count) * i, (logits.length / count) * (i + 1))),
    );
  }

  async likeliest(parts: Continued[]): Promise<number[]> {
    return (await this.run(parts, true)).flatMap(([best]) => [...best]);
  }

  /** What is wanted of the blocks of rows that the parts come to, in order, and of how many rows: those of all tokens, or of each part's last. */
  private async run(parts: Continued[], likeliest: boolean, every = false): Promise<[values: Float32Array, rows: number][]> {
    this.begin(parts.filter(({ sequence }) => !this.lengths[sequence]).map(({ sequence }) => sequence));
    const rows: StepRow[] = parts.flatMap(({ sequence, tokens, adapter }) => {
      const slots = this.slots(adapter);
      const from = this.lengths[sequence] ?? 0;
      this.lengths[sequence] = from + tokens.length;
      return tokens.map((token, i) => ({ token, sequence, position: from + i, wanted: every || i === tokens.length - 1, slots }));
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

  release(sequence: number): void {
    this.copy(sequence, sequence, 0);
  }

  dispose(): void {
    this.decoder.dispose();
  }
}

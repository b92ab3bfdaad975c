import { type DecoderPlan, NotPlanned } from '../engine/ops/decode';
import * as tf from '../engine/tf';
import type { KeyValueCache } from '../nn';
import { Composed } from './composed';
import { InOneOp } from './one_op';
import { rowAdapters } from './row_adapters';

/** What tokens can be predicted with. */
export interface Decodes {
  hidden(ids: tf.Tensor2D, options: { cache: KeyValueCache }): tf.Tensor3D;
  logits(hidden: tf.Tensor2D): tf.Tensor2D;
  newCache(capacity: number): KeyValueCache;
  /** How the decode op runs it; a NotPlanned error where that cannot. */
  plan(): DecoderPlan;
}

/** Tokens that a sequence goes on with; sequences are known by small numbers, those that were released may be used again. */
export interface Continued {
  sequence: number;
  tokens: number[];
  /** The adapter that these tokens go through, of those that decoding began with, or BASE_ADAPTER; by default the active ones. One sequence keeps to one. */
  adapter?: string;
}

/**
 * Sequences of different lengths, with their keys and values, that are continued together: sequences come and go between steps, and a step
 * takes whole prompts beside single tokens. Its matrices are the model's own, whatever number of decodings there is. In one op (without
 * `whyNot`) low-rank pairs are as they were when it began: an adapter may be taken off its model afterwards. One that is loaded later is
 * decoded by another decoding, beside this one. Steps must not overlap: await one before the next.
 */
export interface Decoding {
  /** Why this is not the one op that it can be; undefined where it is. */
  readonly whyNot?: string;
  /** Appends tokens; returns the logits after the last of each part, [vocabulary]: they are the caller's. */
  step(parts: Continued[]): Promise<Float32Array[]>;
  /** The same, and the likeliest token of each instead of the logits. */
  likeliest(parts: Continued[]): Promise<number[]>;
  /** Appends tokens of one sequence; returns the logits after each of them. */
  every(part: Continued): Promise<Float32Array[]>;
  /** Makes `to` a copy of the first `length` positions of `from` (by default all), or cuts a sequence off there. */
  copy(from: number, to: number, length?: number): void;
  /** Forgets a sequence and frees its keys and values. */
  release(sequence: number): void;
  dispose(): void;
}

/**
 * Begins to decode with a model, by the decode op where that can; each sequence has at most `capacity` tokens. `adapters`: names of those
 * that parts ask for, of the PeftModel around it; up to 30 low-rank ones go through one op together.
 */
export function startDecoding(model: Decodes, capacity: number, adapters: readonly string[] = []): Decoding {
  const rows = adapters.length ? rowAdapters(model, adapters) : undefined;
  try {
    let decoding: Decoding | undefined;
    // What adapters make for it is in it then.
    tf.tidy(() => {
      decoding = new InOneOp(rows ? rows.plan(() => model.plan()) : model.plan(), rows?.slots);
    });
    return decoding as unknown as Decoding;
  } catch (error) {
    if (!(error instanceof NotPlanned)) throw error;
    return new Composed(model, capacity, error.message, rows);
  }
}

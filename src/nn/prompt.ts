import type * as tf from '../engine/tf';
import { type Matrix, Module } from './module';

/** Tokens that a PEFT method has learned, which stand before every row. */
export interface LearnedPrompt {
  /** How many there are. */
  readonly length: number;
  /** What stands in the place of their embeddings, [length, hidden], as a tensor of the scope that calls. */
  rows(): tf.Tensor2D;
}

/** A model that reads a learned prompt before each row, where there is one; it is no tensor of the model's own. */
export abstract class Prompted extends Module {
  prompt?: LearnedPrompt;
  /** The layer with the table of embeddings, which may be a head's matrix too. */
  abstract get embeddings(): Module & { weight: Matrix };
}

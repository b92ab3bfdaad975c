import { OptionError } from '../core/errors';
import { availableMemory, mebibytes } from '../engine/memory';
import type { Precision } from '../engine/precision';
import type { PretrainedModel } from '../models/pretrained';
import { baseOf } from '../peft/model';
import type { TrainingOptions } from './config';
import type { TrainedModel } from './gradients';

/** How many tokens go through the model at once, and whether blocks are recomputed in the backward pass. */
export interface Plan {
  tokens: number;
  recompute: boolean;
}

const SIZES = [4096, 2048, 1024, 512, 256];

export interface Needs {
  /** fp32 values that a token's activations take without and with recomputation. */
  floats: [kept: number, recomputed: number];
  /** Tokens of the longest row. */
  longest: number;
  /** Tokens of a learned prompt, which stands before the rows of every micro-batch. */
  prompt: number;
  precision: Precision;
}

/** What a micro-batch of this model's needs, as it is now: with the methods that stand in it. */
export function needsOf(model: TrainedModel, longest: number, precision: Precision): Needs {
  const base = baseOf<PretrainedModel>(model);
  return { floats: base.activationFloats(precision), longest, prompt: base.decoder.prompt?.length ?? 0, precision };
}

/**
 * The micro-batches of rows that fit the memory allowed. In bf16, where a token is computed faster and takes less memory, more of them go
 * through at once: what a micro-batch costs beside its tokens (unpacking weights, JavaScript) weighs more there.
 */
export function planMicroBatches(
  { memory_limit: allowed, gradient_checkpointing: forced }: Pick<TrainingOptions, 'memory_limit' | 'gradient_checkpointing'>,
  { floats: [kept, recomputed], longest, prompt, precision }: Needs,
): Plan {
  const limit = allowed <= 1 ? allowed * availableMemory() : allowed * 1024 * 1024;
  const fits = (tokens: number, floats: number) => (prompt + tokens) * floats * 4 * 1.3 <= limit;
  // Larger micro-batches than the first gain no speed, so memory is not spent on them.
  const preferred = (precision === 'bf16' ? [1024, 512] : [512]).find((tokens) => fits(Math.max(tokens, longest), kept));
  if (forced !== true && preferred) return { tokens: Math.max(preferred, longest), recompute: false };
  const size = SIZES.find((tokens) => tokens <= Math.max(512, longest) && fits(tokens, recomputed)) ?? longest;
  if (forced !== false && (forced || !fits(longest, kept))) {
    if (!fits(longest, recomputed)) {
      const behind = prompt ? ` behind a learned prompt of ${prompt}` : '';
      throw new OptionError(
        `One row of ${longest} tokens${behind} needs about ${mebibytes((prompt + longest) * recomputed * 4)} for its backward pass, but memory_limit leaves ${mebibytes(limit)}. Lower max_length, or raise memory_limit.`,
      );
    }
    return { tokens: Math.max(size, longest), recompute: true };
  }
  return { tokens: longest, recompute: false };
}

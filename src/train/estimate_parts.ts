import type { Precision } from '../engine/precision';
import { planMicroBatches } from './micro_batches';
import { OPTIMIZERS } from './optimizers';
import { optimArgs } from './optimizers/optimizer';

export interface Amount {
  low: number;
  expected: number;
  high: number;
}
export interface Parts {
  weights: Amount;
  gradients: Amount;
  optimizer: Amount;
  activations: Amount;
  process: Amount;
  total: Amount;
}

/** What a run's memory follows from. */
export interface Costs {
  parameters: number;
  weightBytes: number;
  /** Of what is trained. */
  shapes: number[][];
  /** Whether that stands beside the weights. */
  adapter: boolean;
  hidden: number;
  inner: number;
  vocabulary: number;
  precision: Precision;
  /** fp32 values that a token's activations take, without and with recomputation. */
  floats: [kept: number, recomputed: number];
}

export interface Settings {
  optimizer: string;
  batch: number;
  length: number;
  checkpointing: boolean | null;
}

const MiB = 1024 * 1024;
const sizeOf = (shape: number[]) => shape.reduce((a, b) => a * b, 1);
const sure = (bytes: number): Amount => ({ low: bytes, expected: bytes, high: bytes });

/** Of every value of a block of 8-bit numbers: a byte, and its share of the block's fp32 extreme. */
const EIGHT_BIT = 1 + 4 / 256;

function optimizerBytes(name: string, shapes: number[][]): Amount {
  const kind = OPTIMIZERS[name];
  const { eightBit, paged } = kind.names[name];
  let bytes = 0;
  for (const shape of shapes)
    for (const slot of kind.slots(shape, optimArgs(kind, null))) {
      const size = sizeOf(slot.shape);
      bytes += size * (eightBit && size >= 4096 ? EIGHT_BIT : 4);
    }
  // The system takes pages when it needs them, and may have written out all.
  return paged ? { low: 0, expected: bytes, high: bytes } : sure(bytes);
}

/** Node, TensorFlow and the library, before a model is there; measured. */
const PROCESS: Amount = { low: 200 * MiB, expected: 255 * MiB, high: 300 * MiB };

/** Every part of what a run takes, in bytes. */
export function amountsOf(costs: Costs, o: Settings): Parts {
  const trained = 4 * costs.shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);
  const weights = sure(costs.weightBytes + (costs.adapter ? trained : 0));
  const gradients = sure(trained);
  const optimizer = optimizerBytes(o.optimizer, costs.shapes);
  const activations = activationBytes(costs, o);
  const parts = { weights, gradients, optimizer, activations, process: PROCESS };
  const sum = (name: keyof Amount) => Object.values(parts).reduce((total, amount) => total + amount[name], 0);
  return { ...parts, total: { low: sum('low'), expected: sum('expected'), high: sum('high') } };
}

function activationBytes(costs: Costs, o: Settings): Amount {
  const { floats, precision } = costs;
  const needs = { floats, longest: o.length, prompt: 0, precision };
  // What a step is cut into where memory is no concern: with less, the trainer recomputes.
  const plan = planMicroBatches({ memory_limit: 1e9, gradient_checkpointing: o.checkpointing }, needs);
  const tokens = Math.min(plan.tokens, o.batch * o.length);
  const kept = tokens * floats[plan.recompute ? 1 : 0] * 4;
  // What one block and the head need beside what is kept: inputs as products read them, gradients that flow.
  const passing = tokens * (6 * costs.hidden + 3 * costs.inner) * 4;
  return { low: 0.9 * kept, expected: kept + passing, high: 1.3 * kept + 1.5 * passing };
}

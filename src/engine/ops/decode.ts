import { execute, Handle, isNative } from '../backend';
import type * as tf from '../tf';
import { F32, Weight } from '../weights';

/** A linear layer as the decode op takes it: y = scales (x W^T + pairs + bias); vectors that scale what goes in come first of all. */
export interface PlannedLayer {
  /** [out, in] */
  weight: Weight | tf.Tensor;
  bias?: tf.Tensor;
  scales?: { vector: tf.Tensor; out: boolean }[];
  /** a [rank, in], b [out, rank]; used by the rows of a step that use this slot (0 to 30). */
  pairs?: { a: tf.Tensor; b: tf.Tensor; scale: number; slot?: number }[];
}

/** gain and shift [size]; `offset` is added to the gain. */
export interface PlannedNorm {
  kind: 'rms' | 'layer';
  gain?: tf.Tensor;
  shift?: tf.Tensor;
  eps: number;
  offset?: number;
}

/**
 * A layer of a decoder; norms that are left out are not there. Without a gate, `up` alone goes through the activation, or, where it has
 * twice as many rows as `down` has columns, the first half of them are the gate.
 */
export interface PlannedBlock {
  /** Keys that a query sees, its own among them; by default all before it. */
  window?: number;
  /** Which of the plan's rotations turns queries and keys; by default none. */
  rotation?: number;
  norms: Partial<Record<(typeof NORMS)[number], PlannedNorm>>;
  q: PlannedLayer;
  /** Without these, q is all three: its rows are those of queries, keys and values. */
  k?: PlannedLayer;
  v?: PlannedLayer;
  o: PlannedLayer;
  gate?: PlannedLayer;
  up: PlannedLayer;
  down: PlannedLayer;
}

const NORMS = ['beforeAttention', 'queries', 'keys', 'afterAttention', 'beforeMlp', 'afterMlp'] as const;
/** As the op numbers them. */
const ACTIVATIONS = ['silu', 'gelu_tanh', 'gelu', 'relu'] as const;

/** All that the decode op has to know of a model. */
export interface DecoderPlan {
  hidden: number;
  inner: number;
  heads: number;
  groups: number;
  dim: number;
  activation: (typeof ACTIVATIONS)[number];
  /** Of a text of so many tokens: angles per position of each pair of dimensions, and what sines and cosines are multiplied by. */
  rotations(length: number): { frequencies: number[]; factor: number }[];
  /** Whether these change with the length. */
  grows?: boolean;
  embed: PlannedLayer;
  /** A learned table of positions. */
  positions?: PlannedLayer;
  blocks: PlannedBlock[];
  last: PlannedNorm;
  head: PlannedLayer;
  /** Multipliers, by default 1: of embeddings, of what blocks add, of scores (by default dim ** -0.5) and logits. */
  scales?: { embeddings?: number; residual?: number; scores?: number; logits?: number };
  /** Soft caps: cap tanh(x / cap). */
  caps?: { scores?: number; logits?: number };
  /** What stands before every sequence, [tokens, hidden]; a tensor that the caller disposes. */
  prompt?: () => tf.Tensor2D;
}

/** Why a model, or what is beside its layers, cannot run as one op. */
export class NotPlanned extends Error {}

/** A plan's numbers and tensors in the order in which native/decode_plan.h reads them. */
class Written {
  readonly packed: Handle[] = [];
  readonly plain: (tf.Tensor | Handle)[] = [];
  private readonly words: number[] = [];
  private readonly float = new Float32Array(1);
  private readonly places = new Map<object, number>();

  constructor(readonly weights: Set<Weight>) {}

  int(...values: number[]): this {
    this.words.push(...values);
    return this;
  }
  real(...values: number[]): this {
    for (const value of values) {
      this.float[0] = value;
      this.words.push(new Int32Array(this.float.buffer)[0]);
    }
    return this;
  }
  private placeOf<T extends object>(item: T | undefined, list: T[]): number {
    if (!item) return -1;
    const known = this.places.get(item);
    if (known !== undefined) return known;
    this.places.set(item, list.push(item) - 1);
    return list.length - 1;
  }
  tensor(tensor?: tf.Tensor): this {
    return this.int(this.placeOf<tf.Tensor | Handle>(tensor, this.plain));
  }

  layer({ weight, bias, scales = [], pairs = [] }: PlannedLayer): this {
    if (weight instanceof Weight) {
      this.weights.add(weight);
      const grouped = weight.inGroups();
      this.int(weight.format.code, ...weight.shape, this.placeOf(grouped ?? (weight.handle as Handle), this.packed), -1, grouped ? 1 : 0);
    } else
      this.int(F32, ...weight.shape, -1)
        .tensor(weight)
        .int(0);
    this.tensor(bias).int(scales.length);
    for (const { vector, out } of scales) this.tensor(vector).int(out ? 1 : 0);
    this.int(pairs.length);
    for (const { a, b, scale, slot = 0 } of pairs) this.tensor(a).tensor(b).int(slot).real(scale);
    return this;
  }
  optional(layer?: PlannedLayer): this {
    this.int(layer ? 1 : 0);
    return layer ? this.layer(layer) : this;
  }
  norm(norm?: PlannedNorm): this {
    if (!norm) return this.int(0);
    const { kind, gain, shift, eps, offset = 0 } = norm;
    return this.int(kind === 'rms' ? 1 : 2)
      .tensor(gain)
      .tensor(shift)
      .real(eps, offset);
  }
  get all(): Int32Array {
    return Int32Array.from(this.words);
  }
}

/** Whether no matrix of the blocks has fewer than 32 bits: then keys, values and low-rank pairs have as many. */
const isExact = ({ blocks }: DecoderPlan): boolean =>
  blocks.every(({ q, k, v, o, gate, up, down }) =>
    [q, k, v, o, gate, up, down].every((layer) => !(layer?.weight instanceof Weight) || layer.weight.format.code === F32),
  );

/** Bytes that keys and values of a token come to. */
export const bytesPerToken = (plan: DecoderPlan): number => plan.blocks.length * plan.groups * plan.dim * 2 * (isExact(plan) ? 4 : 2);

function written(plan: DecoderPlan, weights: Set<Weight>): Written {
  const { hidden, inner, heads, groups, dim, activation, scales = {}, caps = {} } = plan;
  const tables = plan.rotations(1);
  const to = new Written(weights);
  to.int(plan.blocks.length, hidden, inner, heads, groups, dim, 2 * (tables[0]?.frequencies.length ?? 0), tables.length)
    .int(ACTIVATIONS.indexOf(activation), isExact(plan) ? 1 : 0)
    .real(scales.embeddings ?? 1, scales.residual ?? 1, scales.scores ?? dim ** -0.5, caps.scores ?? 0)
    .real(scales.logits ?? 1, caps.logits ?? 0)
    .layer(plan.embed)
    .optional(plan.positions);
  for (const block of plan.blocks) {
    to.int(block.window ?? 0, block.rotation ?? -1);
    for (const name of NORMS) to.norm(block.norms[name]);
    to.layer(block.q).optional(block.k).optional(block.v).layer(block.o);
    to.optional(block.gate).layer(block.up).layer(block.down);
  }
  return to.norm(plan.last).layer(plan.head);
}

/** The next token of a step: `position` in its sequence, `wanted` where its logits are, `slots`: the adapters it uses, as bits. */
export interface StepRow {
  token: number;
  sequence: number;
  position: number;
  wanted: boolean;
  slots?: number;
}

let none: Handle | undefined;
function nothing(): Handle {
  none ??= Handle.constant(new Float32Array(0));
  return none;
}

/**
 * A model with the keys and values of sequences, as one native op a step. It reads weights in groups (`Weight.inGroups`); what it was
 * planned with stays alive in it. Low-rank pairs are taken as they were when it was made.
 */
export class NativeDecoder {
  private readonly weights = new Set<Weight>();
  private readonly id: number;
  private readonly number: Handle;
  private rotations?: Handle;
  private rotated = 0;
  private turnedBack: number;

  constructor(private readonly plan: DecoderPlan) {
    if (!isNative()) throw new NotPlanned('the native engine is not in use');
    const { all, packed, plain } = written(plan, this.weights);
    this.turnedBack = Weight.turnedBack;
    const words = Handle.create(all);
    const nothing = [Handle.create(new Uint8Array(1)), Handle.create(new Float32Array(1))]; // TensorFlow takes no empty lists
    try {
      const inputs = [words, ...packed, nothing[0], ...plain, nothing[1]];
      const [number] = execute('TunebookDecodePlan', inputs, { P: packed.length + 1, N: plain.length + 1 }, 1);
      this.id = number.dataSync()[0];
      this.number = Handle.create(Int32Array.of(this.id));
      number.dispose();
    } finally {
      for (const handle of [words, ...nothing]) handle.dispose();
    }
  }

  /** Runs tokens; returns the logits of those that are wanted, [wanted, vocabulary], or with `likeliest` the best of each, [wanted]. */
  step(rows: StepRow[], likeliest = false, embedded?: tf.Tensor): tf.Tensor {
    if (this.turnedBack !== Weight.turnedBack) {
      for (const weight of this.weights) weight.inGroups();
      this.turnedBack = Weight.turnedBack;
    }
    const values = new Int32Array(rows.length * 5);
    let longest = 0;
    for (const [i, { token, sequence, position, wanted, slots = 1 }] of rows.entries()) {
      values.set([token, sequence, position, wanted ? 1 : 0, slots], i * 5);
      longest = Math.max(longest, position + 1);
    }
    const told = Handle.create(values);
    try {
      const inputs = [this.number, told, embedded ?? nothing(), this.rotationsOf(longest)];
      const [logits, best] = execute('TunebookDecode', inputs, { likeliest: likeliest ? 1 : 0 }, 2);
      (likeliest ? logits : best).dispose();
      return likeliest ? best : logits;
    } finally {
      told.dispose();
    }
  }

  private rotationsOf(length: number): Handle {
    if (this.rotations && (!this.plan.grows || length === this.rotated)) return this.rotations;
    this.rotations?.dispose();
    this.rotated = length;
    const values = this.plan.rotations(length).flatMap(({ frequencies, factor }) => [...frequencies, factor]);
    this.rotations = Handle.create(Float32Array.from(values));
    return this.rotations;
  }

  /** Makes a sequence the first `length` positions of another, or of itself. */
  copy(from: number, to: number, length: number): void {
    const what = Handle.create(Int32Array.of(this.id, from, to, length));
    execute('TunebookDecodeCopy', [what], {}, 0);
    what.dispose();
  }

  /** Bytes of keys and values. */
  get cacheBytes(): number {
    const [bytes] = execute('TunebookDecodeBytes', [this.number], {}, 1);
    try {
      return bytes.dataSync()[0];
    } finally {
      bytes.dispose();
    }
  }

  dispose(): void {
    execute('TunebookDecodeEnd', [this.number], {}, 0);
    for (const handle of [this.number, this.rotations]) handle?.dispose();
  }
}

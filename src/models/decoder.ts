import { OptionError } from '../core/errors';
import { type LayerCache, type Layout, positionsIn } from '../engine/ops/attention';
import { type DecoderPlan, NotPlanned } from '../engine/ops/decode';
import { type Precision, withPrecision } from '../engine/precision';
import { checkpoint, record } from '../engine/tape';
import * as tf from '../engine/tf';
import { KeyValueCache, type Linear, type Module, type Parameter, Prompted, training } from '../nn';
import { type EmbeddingNoise, noisy } from './noise';

export interface ForwardOptions {
  cache?: KeyValueCache;
  /** The rows that stand one behind another in ids [1, total], where it is not one. */
  layout?: Layout;
  /** The flat indices into [batch * seq] whose final states are wanted; numbers, where no tensor of theirs lives until the backward pass. */
  at?: tf.Tensor1D | number[];
  /** Added to what is embedded; not to a learned prompt. */
  noise?: EmbeddingNoise;
  /** Keep only block inputs for the backward pass; `parameters` are the trained tensors inside the blocks. */
  recompute?: { parameters: (block: Module) => Parameter[] };
}

/** What a block is told of the tokens: their layout, and what its decoder makes of their positions (a rotation, say). */
export type Tokens<P> = P & { layout?: Layout };

/** One layer of a decoder. */
export interface Block<P> extends Module {
  /**
   * x [batch, seq, hidden] -> [batch, seq, hidden]; with a cache, which has `position` tokens so far, of one row. With `at`, what
   * mixes no tokens any more is computed at these flat indices into [batch * seq] alone: [1, at, hidden].
   */
  forward(x: tf.Tensor, tokens: Tokens<P>, cache?: LayerCache, position?: number, at?: tf.Tensor1D): tf.Tensor;
}

/** Where rows stand behind a prompt that all of them begin with. */
function behind(prompt: number, [batch, seq]: number[], layout?: Layout): Layout {
  const [first, ...rest] = layout?.lengths ?? Array<number>(batch).fill(seq);
  return { lengths: layout?.prefixed ? [prompt + first, ...rest] : [prompt, first, ...rest], prefixed: true };
}

/** What becomes of the logits of a head over the vocabulary: each is multiplied, then kept between `cap` and its negative (cap tanh(x / cap)). */
export interface LogitRule {
  times?: number;
  cap?: number | null;
}

/**
 * What turns ids into states: an embedding, blocks, what comes after them. Heads stand beside it. `P` is what its blocks are told of
 * positions.
 */
export abstract class Decoder<P extends object = object> extends Prompted {
  protected override get role(): string {
    return 'Model';
  }

  /** The name that models keep it under. */
  abstract get base_model_prefix(): string;
  /** Where it came from. */
  protected abstract get origin(): string;
  /** How many tokens a text may have. */
  abstract get positions(): number;
  protected abstract get blocks(): readonly Block<P>[];
  /** ids int32 [batch, seq] -> [batch, seq, hidden] */
  abstract embed(ids: tf.Tensor2D): tf.Tensor3D;
  /** What becomes of embeddings, and of a learned prompt before them, on their way to the first block. */
  protected begin(x: tf.Tensor3D, _positions: number[]): tf.Tensor3D {
    return x;
  }
  get logitRule(): LogitRule {
    return {};
  }
  /** Tensors of the scope that calls, for tokens at these positions. */
  protected abstract tables(positions: number[]): P;
  /** What comes after the last block: [batch, seq, hidden] -> the same */
  protected abstract finish(x: tf.Tensor): tf.Tensor3D;
  /** How the decode op runs it with this head; a NotPlanned error where that cannot. */
  plan(_head: Linear): DecoderPlan {
    throw new NotPlanned(`${this.constructor.name} has no plan`);
  }
  /** An empty cache of one block for so many positions. */
  protected abstract layerCache(capacity: number): LayerCache;

  /**
   * Floats kept for the backward pass, per token: [everything, with recomputation]. Found by trying, so that it is what really runs:
   * fused ops, or what they have no room for of an architecture and of what methods have put beside layers.
   */
  activationFloats(precision: Precision): [kept: number, recomputed: number] {
    const hidden = this.embeddings.weight.shape[1];
    const bytes = (block: Block<P>, tokens: number) =>
      tf.tidy(() => {
        const told = this.tables(Array.from({ length: tokens }, (_, i) => i));
        const run = () => training(0, () => record(() => block.forward(tf.zeros([1, tokens, hidden]), told)));
        const recorded = withPrecision(precision, run);
        const { savedBytes } = recorded;
        recorded.dispose();
        return savedBytes;
      });
    const known = new Map<string, number>();
    const perToken = this.blocks.map((block) => {
      const kind = [...block.namedModules()].map(([path, { adapted }]) => `${path} ${adapted}`).join();
      // What does not grow with the tokens is the model's own.
      const floats = known.get(kind) ?? (bytes(block, 16) - bytes(block, 8)) / (4 * 8);
      known.set(kind, floats);
      return floats;
    });
    const kept = perToken.reduce((sum, n) => sum + n, 0);
    return [kept, perToken.length * hidden + Math.max(...perToken)];
  }

  /** For `capacity` tokens of a row, and a learned prompt before them. */
  newCache(capacity: number): KeyValueCache {
    return new KeyValueCache(this.blocks.map(() => this.layerCache(capacity + (this.prompt?.length ?? 0))));
  }

  /** Final states: ids int32 [batch, seq] -> [batch, seq, hidden], or [1, at, hidden] where `at` is given. */
  states(ids: tf.Tensor2D, options: ForwardOptions = {}): tf.Tensor3D {
    const prompt = options.cache?.length ? undefined : this.prompt;
    const { cache, layout: given, at, noise } = options;
    const embedded = () => (noise ? noisy(this.embed(ids), noise, given) : this.embed(ids));
    if (!prompt) return this.run(ids.shape[1], embedded, options);
    const [batch, seq] = ids.shape;
    return tf.tidy(() => {
      const x = () => tf.concat([tf.expandDims(prompt.rows(), 0), tf.reshape(embedded(), [1, batch * seq, -1])], 1) as tf.Tensor3D;
      const layout = cache ? undefined : behind(prompt.length, ids.shape, given);
      const states = this.run(prompt.length + batch * seq, x, { ...options, layout }, prompt.length);
      return at ? states : (tf.reshape(tf.slice(states, [0, prompt.length, 0]), [batch, seq, -1]) as tf.Tensor3D);
    });
  }

  /** The blocks over rows of `seq` embedded tokens, of which `before` stand before those that `at` counts. */
  private run(seq: number, embedded: () => tf.Tensor3D, { cache, layout, recompute, at }: ForwardOptions, before = 0): tf.Tensor3D {
    const position = cache?.length ?? 0;
    const positions = positionsIn(layout ?? { lengths: [seq] }).map((at) => position + at);
    this.checkLength(positions.reduce((most, at) => Math.max(most, at + 1), 0));
    return tf.tidy(() => {
      // A block that runs again in the backward pass outlives what is made in this scope.
      const told = (): Tokens<P> => ({ ...this.tables(positions), layout });
      const places = (): tf.Tensor1D | undefined => {
        if (Array.isArray(at))
          return tf.tensor1d(
            at.map((place) => before + place),
            'int32',
          );
        return at && before ? tf.add(at, tf.scalar(before, 'int32')) : at;
      };
      const tokens = told();
      let x: tf.Tensor = this.begin(embedded(), positions);
      for (const [i, block] of this.blocks.entries()) {
        const last = i === this.blocks.length - 1;
        const run = (input: tf.Tensor) =>
          block.forward(input, recompute ? told() : tokens, cache?.layers[i], position, last ? places() : undefined);
        x = recompute
          ? checkpoint(
              run,
              x,
              recompute.parameters(block).map((p) => p.tensor),
            )
          : run(x);
      }
      if (cache) cache.length += seq;
      return this.finish(x);
    });
  }

  private checkLength(longest: number): void {
    if (longest <= this.positions) return;
    const prompt = this.prompt ? ` (${this.prompt.length} of them a learned prompt)` : '';
    throw new OptionError(
      `${longest} tokens${prompt} are more than the ${this.positions} positions that ${this.origin} knows. Shorten the text or set max_length.`,
    );
  }
}

import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { readOptions } from '../core/options';
import { capped, type HeadAttributes } from '../engine/head';
import type { DecoderPlan } from '../engine/ops/decode';
import { denseCrossEntropy } from '../engine/ops/dense_cross_entropy';
import { denseLosses } from '../engine/ops/dense_losses';
import { gatherRows } from '../engine/ops/gather_rows';
import { linearCrossEntropy } from '../engine/ops/linear_cross_entropy';
import * as tf from '../engine/tf';
import { Weight } from '../engine/weights';
import { type Generated, type GenerateOptions, generate } from '../generate/generate';
import type { Prompt, Prompts } from '../generate/prompt';
import { Linear, Parameter, TiedLinear } from '../nn';
import type { GgufPlaces } from '../peft/gguf';
import type { Tokenizer } from '../tokenizers/tokenizer';
import type { ModelConfig } from './config';
import type { Decoder, ForwardOptions } from './decoder';
import { type GgufExport, ggufPlaces, saveGguf } from './gguf_export';
import { withoutPadding } from './padding';
import { PretrainedModel } from './pretrained';
import { HEAD, type WeightSource } from './source';

/**
 * Whether the embedding table is the output matrix too. As in transformers 5: a file with both, and different, is believed more than
 * `tie_word_embeddings: true`; where one of the two is missing it is the other.
 */
async function isTied(config: ModelConfig, source: WeightSource): Promise<boolean> {
  if (!config.tie_word_embeddings) return false;
  const { embeddings } = source;
  if (!source.has(HEAD) || !source.has(embeddings) || (await source.same(embeddings, HEAD))) return true;
  warnOnce(
    `${source.description}: config.json ties the output matrix to the embedding table (tie_word_embeddings), but ${HEAD} and ${embeddings} differ in the file, so they are not tied. Set tie_word_embeddings to false to silence this.`,
  );
  return false;
}

/** What its losses are told beside its forward pass. `figures`: see HeadAttributes; `smoothing`: the share of each label that all words get. */
type LossOptions = ForwardOptions & Pick<HeadAttributes, 'figures'> & { smoothing?: number };

/** Logits that are in memory at once where all of a text's are looked at: 64 MiB. */
const LOGITS_AT_ONCE = 1 << 24;

/** A decoder that predicts the next token. */
export class CausalLM<D extends Decoder = Decoder> extends PretrainedModel<D> {
  static readonly suffix = 'ForCausalLM';
  readonly task_type = 'CAUSAL_LM';

  constructor(
    config: ModelConfig,
    decoder: D,
    /** The output head, [vocabulary, hidden]. Where it is tied to the embedding table, a layer of its own over the table's matrix. */
    readonly lm_head: Linear,
  ) {
    super(config, decoder);
  }

  override get tokenLayers() {
    return [...super.tokenLayers, this.lm_head];
  }

  static async load(decoder: Decoder, config: ModelConfig, source: WeightSource): Promise<CausalLM> {
    const tied = await isTied(config, source);
    const head = tied
      ? new TiedLinear(() => decoder.embeddings)
      : new Linear(await source.weight(HEAD, config.vocab_size, config.hidden_size));
    return new CausalLM({ ...config, tie_word_embeddings: tied }, decoder, head);
  }

  /** Logits of hidden rows: [rows, hidden] -> [rows, vocabulary] */
  logits(hidden: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() => {
      const logits = this.lm_head.forward(this.headed(hidden));
      return (this.cap ? capped(logits, this.cap) : logits) as tf.Tensor2D;
    });
  }

  /** How the decode op runs it; a NotPlanned error where that cannot. */
  plan(): DecoderPlan {
    return this.decoder.plan(this.lm_head);
  }

  /**
   * Logits of every position: ids int32 [batch, seq] -> [batch, seq, vocabulary]. Large: training never builds them. `attention_mask` [batch, seq]
   * has a 0 where there is padding, on whichever side: nothing sees it, positions are counted without it, and its logits are 0.
   */
  forward(ids: tf.Tensor2D, attention_mask?: tf.Tensor2D): tf.Tensor3D {
    const [batch, seq] = ids.shape;
    return tf.tidy(() => {
      if (!attention_mask) return this.logits(this.hidden(ids).reshape([batch * seq, -1])).reshape([batch, seq, -1]);
      const { row, lengths, places } = withoutPadding(ids, attention_mask);
      const hidden = this.hidden(row, { layout: { lengths } });
      const logits = this.logits(tf.reshape(hidden, [places.shape[0], -1]));
      return tf.scatterND(places, logits, [batch * seq, logits.shape[1]]).reshape([batch, seq, -1]);
    });
  }

  /**
   * Cross-entropy of each labelled position, [labelled]. `positions` are flat indices into [batch * seq] whose successor is `labels`;
   * the head runs at these alone. `gradient`: whether it will be differentiated; a head that is trained, or has an adapter, runs twice
   * then (`loss` does without).
   */
  losses(ids: tf.Tensor2D, positions: tf.Tensor1D, labels: tf.Tensor1D, options?: LossOptions, gradient = false): tf.Tensor1D {
    const at = this.atHead(ids, positions, options);
    const { x, matrix, pair, trained } = at;
    const head = { labels, cap: this.cap, figures: options?.figures };
    const losses =
      gradient && (trained || pair.u)
        ? denseLosses({ x, ...trained, ...pair }, { frozen: trained ? undefined : matrix, ...head })
        : linearCrossEntropy({ x, ...pair }, { frozen: matrix, gradient, ...head });
    return (options?.smoothing ? tf.add(losses, this.smoothed(at, labels, options.smoothing)) : losses) as tf.Tensor1D;
  }

  /**
   * Of each label, the logarithm of its probability and the token that is the most probable: [labelled] each, int32 the latter.
   * `positions` and `labels` as in `losses`.
   */
  likelihoods(ids: tf.Tensor2D, positions: tf.Tensor1D, labels: tf.Tensor1D, options?: ForwardOptions): [tf.Tensor1D, tf.Tensor1D] {
    return tf.tidy(() => {
      const hidden = this.hiddenAt(ids, positions, options);
      const rows = Math.max(1, Math.floor(LOGITS_AT_ONCE / this.config.vocab_size));
      const parts: [tf.Tensor1D, tf.Tensor1D][] = [];
      for (let from = 0; from < labels.size; from += rows) {
        const some = Math.min(rows, labels.size - from);
        parts.push(
          tf.tidy(() => {
            const logits = this.logits(tf.slice(hidden, [from, 0], [some, -1]));
            const at = tf.stack([tf.range(0, some, 1, 'int32'), tf.slice(labels, from, some)], 1);
            return [tf.sub(tf.gatherND(logits, at), tf.logSumExp(logits, 1)) as tf.Tensor1D, tf.argMax(logits, 1) as tf.Tensor1D];
          }),
        );
      }
      return [tf.concat(parts.map(([logprobs]) => logprobs)), tf.concat(parts.map(([, best]) => best))];
    });
  }

  /** What is trained on: the sum of these losses times `factor`, []. */
  loss(ids: tf.Tensor2D, positions: tf.Tensor1D, labels: tf.Tensor1D, factor: number, options?: LossOptions): tf.Scalar {
    const at = this.atHead(ids, positions, options);
    const { x, matrix, pair, trained } = at;
    const head = { labels, cap: this.cap, figures: options?.figures };
    const loss =
      trained || pair.u
        ? denseCrossEntropy({ x, ...trained, ...pair }, { frozen: trained ? undefined : matrix, factor, ...head })
        : tf.mul(tf.sum(linearCrossEntropy({ x }, { frozen: matrix, gradient: true, ...head })), factor);
    return (options?.smoothing ? tf.add(loss, tf.sum(this.smoothed(at, labels, options.smoothing * factor))) : loss) as tf.Scalar;
  }

  /**
   * What smoothing adds to the losses, by its share: how far a label's logit is above the mean of all words', which is linear in the
   * states, x (w_label - mean w). [labelled]
   */
  private smoothed({ x, matrix, pair, trained }: ReturnType<CausalLM['atHead']>, labels: tf.Tensor1D, share: number): tf.Tensor1D {
    this.checkSmoothing(share);
    const above = (states: tf.Tensor, of: tf.Tensor2D, isTrained: boolean) => {
      const own = isTrained ? gatherRows(of, labels) : tf.gather(of, labels);
      return tf.sum(tf.mul(states, tf.sub(own, tf.mean(of, 0, true))), 1);
    };
    const whole = (matrix instanceof Weight ? matrix.dequantize() : matrix) as tf.Tensor2D;
    const first = above(x, trained?.weight ? (trained.weight as tf.Tensor2D) : whole, Boolean(trained));
    const all = pair.u ? tf.add(first, above(pair.u, pair.b as tf.Tensor2D, true)) : first;
    return tf.mul(all, share) as tf.Tensor1D;
  }

  /** Fails where labels cannot be smoothed by this share. */
  checkSmoothing(share: number): void {
    if (share && this.cap)
      throw new OptionError(
        "label_smoothing_factor: this model's logits are capped, which smoothing cannot be worked out beside. Set it to 0.",
      );
  }

  private get cap(): number | undefined {
    return this.decoder.logitRule.cap ?? undefined;
  }

  /** What logits are multiplied by, done to the states that they are made of. */
  private headed(x: tf.Tensor2D): tf.Tensor2D {
    const { times = 1 } = this.decoder.logitRule;
    return times === 1 ? x : tf.mul(x, times);
  }

  /** What the head's ops take: final hidden states, its matrix (also as `trained` where it is), and its low-rank pair. */
  private atHead(ids: tf.Tensor2D, positions: tf.Tensor1D, options?: ForwardOptions) {
    const { weight } = this.lm_head;
    const x = this.headed(this.hiddenAt(ids, positions, options));
    const trained = weight instanceof Parameter && weight.requires_grad ? { weight: weight.tensor } : undefined;
    return { x, matrix: weight instanceof Parameter ? weight.tensor : weight, trained, pair: this.lm_head.pair(x) };
  }

  /**
   * Writes the model with its tokenizer, chat template and end tokens as a GGUF file for llama.cpp, and an Ollama Modelfile beside it, under
   * Unsloth's name of it. `path`: a folder, or the file itself (*.gguf). `quantization_method`: 'f32', 'f16', 'bf16', 'q8_0' (the default), 'q6_k', 'q5_k_m',
   * 'q4_k_m', 'q4_k_s', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q3_k' or 'q2_k'; matrices that are packed so already stay as they are. A FileError says what llama.cpp's format cannot hold.
   * Returns the file's path.
   */
  save_pretrained_gguf(path: string, tokenizer: Tokenizer, options: Partial<GgufExport> = {}): Promise<string> {
    return saveGguf(this, path, tokenizer, readOptions('save_pretrained_gguf', options, { quantization_method: 'q8_0' }));
  }

  /** How llama.cpp keeps its layers; undefined where it has no such models. */
  ggufPlaces(): GgufPlaces | undefined {
    return ggufPlaces(this.config);
  }

  /** Continues a row of token ids, or several; returns the new ones. See `generate`. */
  generate<P extends Prompt | Prompts, O extends Partial<GenerateOptions>>(input_ids: P, options?: O): Promise<Generated<P, O>> {
    return generate(this, input_ids, options);
  }
}

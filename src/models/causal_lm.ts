import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../core/errors';
import { sortedJson } from '../core/json';
import { show } from '../core/options';
import { headLosses } from '../engine/head';
import type { Layout } from '../engine/ops/attention';
import { denseCrossEntropy } from '../engine/ops/dense_cross_entropy';
import { linearCrossEntropy } from '../engine/ops/linear_cross_entropy';
import type { Precision } from '../engine/precision';
import * as tf from '../engine/tf';
import { type GenerateOptions, generate } from '../generate/generate';
import { GENERATION_KEYS, GenerationConfig } from '../generate/generation_config';
import { type KeyValueCache, type Linear, Module, Parameter, readParameters, writeTensors } from '../nn';

/** What config.json says, in its own names, plus where the model came from. */
export interface ModelConfig {
  model_type: string;
  vocab_size: number;
  hidden_size: number;
  num_hidden_layers: number;
  max_position_embeddings: number;
  tie_word_embeddings: boolean;
  bos_token_id?: number | null;
  eos_token_id?: number | number[] | null;
  pad_token_id?: number | null;
  _name_or_path: string;
  [name: string]: unknown;
}

/** Fails where a size in a model's configuration is no whole number above 0; those in `optional` may be absent. */
export function checkSizes(json: Record<string, unknown>, needed: string[], optional: string[], name: string): void {
  for (const size of [...needed, ...optional.filter((o) => json[o] !== undefined && json[o] !== null)])
    if (!Number.isSafeInteger(json[size]) || (json[size] as number) < 1)
      throw new FileError(
        `The configuration of ${name} is damaged: ${size} must be a whole number above 0, but is ${show(json[size])}. Get its config.json again.`,
      );
}

export interface ForwardOptions {
  cache?: KeyValueCache;
  /** The rows that stand one behind another in ids [1, total], where it is not one. */
  layout?: Layout;
  /** The flat indices into [batch * seq] whose final states are wanted. */
  at?: tf.Tensor1D;
  /** Keep only block inputs for the backward pass; `parameters` are the trained tensors inside the blocks. */
  recompute?: { parameters: (block: Module) => Parameter[] };
}

/** Settings of older config.json files that generation_config.json has now, and the name of a file of weights that is not written. */
const BESIDE = [
  ...Object.keys(GENERATION_KEYS).filter((name) => !/^(bos|eos|pad)_token_id$|^use_cache$|^output_|^transformers_version$/.test(name)),
  ...['torch_dtype', 'transformers_weights'],
];

/** A decoder that predicts the next token. One file per architecture extends it. */
export abstract class CausalLM extends Module {
  abstract readonly config: ModelConfig;
  /** Final hidden states after the last norm: ids int32 [batch, seq] -> [batch, seq, hidden], or [1, at, hidden] where `at` is given. */
  abstract hidden(ids: tf.Tensor2D, options?: ForwardOptions): tf.Tensor3D;
  abstract newCache(capacity: number): KeyValueCache;
  /** The output head, [vocabulary, hidden]. Where it is tied to the embedding table, a layer of its own over the table's matrix. */
  abstract readonly lm_head: Linear;
  /** Floats kept for the backward pass, per token: [everything, with recomputation]. */
  abstract activationFloats(precision: Precision): [kept: number, recomputed: number];

  /** Logits of hidden rows: [rows, hidden] -> [rows, vocabulary] */
  logits(hidden: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() => this.lm_head.forward(hidden) as tf.Tensor2D);
  }

  /** Logits of every position: ids int32 [batch, seq] -> [batch, seq, vocabulary]. Large: training never builds them. */
  forward(ids: tf.Tensor2D): tf.Tensor3D {
    const [batch, seq] = ids.shape;
    return tf.tidy(() => this.logits(this.hidden(ids).reshape([batch * seq, -1])).reshape([batch, seq, -1]));
  }

  /** Final hidden states at flat indices into [batch * seq]: [positions, hidden] */
  private hiddenAt(ids: tf.Tensor2D, positions: tf.Tensor1D, options?: ForwardOptions): tf.Tensor2D {
    const hidden = this.hidden(ids, { ...options, at: positions });
    return tf.reshape(hidden, [-1, hidden.shape[2]]);
  }

  /**
   * Cross-entropy of each labelled position, [labelled]. `positions` are flat indices into [batch * seq] whose successor is `labels`;
   * the head runs at these alone. `gradient`: whether it will be differentiated; beside a head that is trained, or has an adapter, the
   * logits of all these positions are in memory then (`loss` does without).
   */
  losses(ids: tf.Tensor2D, positions: tf.Tensor1D, labels: tf.Tensor1D, options?: ForwardOptions, gradient = false): tf.Tensor1D {
    const { x, matrix, pair, trained } = this.atHead(ids, positions, options);
    if (gradient && (trained || pair.u))
      return headLosses({ x, ...trained, ...pair }, { frozen: trained ? undefined : matrix, labels }) as tf.Tensor1D;
    return linearCrossEntropy({ x, ...pair }, { frozen: matrix, labels, gradient }) as tf.Tensor1D;
  }

  /** What is trained on: the sum of these losses times `factor`, []. */
  loss(ids: tf.Tensor2D, positions: tf.Tensor1D, labels: tf.Tensor1D, factor: number, options?: ForwardOptions): tf.Scalar {
    const { x, matrix, pair, trained } = this.atHead(ids, positions, options);
    if (trained || pair.u)
      return denseCrossEntropy({ x, ...trained, ...pair }, { frozen: trained ? undefined : matrix, labels, factor }) as tf.Scalar;
    return tf.mul(tf.sum(linearCrossEntropy({ x }, { frozen: matrix, labels, gradient: true })), factor) as tf.Scalar;
  }

  /** What the head's ops take: final hidden states, its matrix (also as `trained` where it is), and its low-rank pair. */
  private atHead(ids: tf.Tensor2D, positions: tf.Tensor1D, options?: ForwardOptions) {
    const { weight } = this.lm_head;
    const x = this.hiddenAt(ids, positions, options);
    const trained = weight instanceof Parameter && weight.requires_grad ? { weight: weight.tensor } : undefined;
    return { x, matrix: weight instanceof Parameter ? weight.tensor : weight, trained, pair: this.lm_head.pair(x) };
  }

  /** Its trained tensors; none before `requires_grad_` has said what to train. */
  namedParameters(): Map<string, Parameter> {
    return new Map(
      [...this.namedTensors()].flatMap(([name, t]) => (t instanceof Parameter && t.requires_grad ? [[name, t] as const] : [])),
    );
  }

  /** The trained tensors inside one of its modules. */
  parametersIn(module: Module): Parameter[] {
    return [...module.namedTensors()].flatMap(([, t]) => (t instanceof Parameter && t.requires_grad ? [t] : []));
  }

  /** What `generate` does where a call says nothing else. */
  generation_config = new GenerationConfig();

  /** Continues a row of token ids; returns the new ones. See `generate`. */
  generate(input_ids: number[], options: Partial<GenerateOptions> = {}): Promise<number[]> {
    return generate(this, input_ids, options);
  }

  readonly weightsFile = 'model.safetensors';

  /** Writes config.json, generation_config.json and model.safetensors as transformers does, in fp32. */
  async save_pretrained(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    await writeTensors(join(folder, this.weightsFile), this.namedTensors());
    const { _name_or_path, ...config } = this.config;
    const settings = Object.entries(config).filter(([name]) => !BESIDE.includes(name));
    await writeFile(join(folder, 'config.json'), sortedJson({ ...Object.fromEntries(settings), dtype: 'float32' }));
    await writeFile(join(folder, 'generation_config.json'), this.generation_config.toJson());
  }

  /** Replaces the values of its trained tensors by those of a saved model of the same shape. */
  restore(folder: string): Promise<void> {
    return readParameters(join(folder, this.weightsFile), this.namedParameters());
  }
}

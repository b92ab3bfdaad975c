import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { OptionError } from '../core/errors';
import { sortedJson } from '../core/json';
import { checkNumber, readOptions } from '../core/options';
import type { Precision } from '../engine/precision';
import * as tf from '../engine/tf';
import { writeText } from '../formats/atomic';
import { writeShards } from '../formats/shards';
import { GenerationConfig } from '../generate/generation_config';
import { GENERATION_KEYS } from '../generate/generation_fields';
import { card, cardName } from '../hub/card';
import { type GivenPush, pushSaved } from '../hub/push';
import type { Pushed } from '../hub/upload';
import { type KeyValueCache, type Matrix, Module, Parameter, readParameters, writable } from '../nn';
import type { ModelConfig } from './config';
import type { Decoder, ForwardOptions } from './decoder';
import { packedConfig, packedWritables } from './packed_files';
import { withRows } from './resize';
import type { Task } from './task';

/** Settings of older config.json files that generation_config.json has now, and the name of a file of weights that is not written. */
const BESIDE = [
  ...Object.keys(GENERATION_KEYS).filter((name) => !/^(bos|eos|pad)_token_id$|^use_cache$|^output_|^transformers_version$/.test(name)),
  ...['torch_dtype', 'transformers_weights'],
];

/** Settings for which transformers takes no whole number. */
const FLOATS =
  /("(?:llm_int8_threshold|(?:attn|final)_logit_softcapping|rms_norm_eps|layer_norm_epsilon|initializer_range)": \d+)(?=[,\s])/g;
const asFloat = (json: string) => json.replace(FLOATS, '$1.0');

/** A layer with a row for each token; `resized` is told when these have become others. */
type TokenLayer = Module & { readonly weight: Matrix; resized?(): void };

/** Gives a layer's matrix so many rows. */
async function resize(layer: TokenLayer, rows: number): Promise<void> {
  if (layer.weight.shape[0] !== rows) layer.exchange('weight', await withRows(layer.weight, rows)).dispose();
  layer.resized?.();
}

/** A decoder with a head beside it. */
export abstract class PretrainedModel<D extends Decoder = Decoder> extends Module {
  readonly #decoder: D;
  readonly #words: number;
  /** What `generate` does where a call says nothing else. */
  generation_config = new GenerationConfig();

  /** PEFT's name of what it is for. */
  abstract readonly task_type: string;
  /** What its head learns of rows with labels; undefined where another trainer than transformers' knows. */
  get task(): Task<unknown> | undefined {
    return undefined;
  }

  override get printedName(): string {
    const { architectures } = this.config as { architectures?: string[] };
    return architectures?.[0] ?? super.printedName;
  }

  constructor(
    readonly config: ModelConfig,
    decoder: D,
  ) {
    super();
    this.#decoder = decoder;
    const { architectures } = config as { architectures?: string[] };
    this.nameFamily.call(decoder, architectures?.[0]?.replace(/For[A-Z]\w*$/, '') ?? '');
    this.#words = config.vocab_size;
    Object.assign(this, { [decoder.base_model_prefix]: decoder });
  }

  get decoder(): D {
    return this.#decoder;
  }

  /** How many tokens of a user's a text may have: a learned prompt takes some of the model's. */
  get positions(): number {
    return this.config.max_position_embeddings - (this.decoder.prompt?.length ?? 0);
  }

  /** Final states of the decoder: ids int32 [batch, seq] -> [batch, seq, hidden], or [1, at, hidden] where `at` is given. */
  hidden(ids: tf.Tensor2D, options?: ForwardOptions): tf.Tensor3D {
    return this.decoder.states(ids, options);
  }

  /** Final states at flat indices into [batch * seq]: [positions, hidden] */
  protected hiddenAt(ids: tf.Tensor2D, positions: tf.Tensor1D | number[], options?: ForwardOptions): tf.Tensor2D {
    const hidden = this.hidden(ids, { ...options, at: positions });
    return tf.reshape(hidden, [-1, hidden.shape[2]]);
  }

  newCache(capacity: number): KeyValueCache {
    return this.decoder.newCache(capacity);
  }

  /** Floats kept for the backward pass, per token: [everything, with recomputation]. */
  activationFloats(precision: Precision): [kept: number, recomputed: number] {
    return this.decoder.activationFloats(precision);
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

  /** The layers with a row for each token. */
  get tokenLayers(): TokenLayer[] {
    return [this.decoder.embeddings];
  }

  /** Whether they have other rows than the files that the model came from. */
  get resized(): boolean {
    return this.config.vocab_size !== this.#words;
  }

  /**
   * Gives the embedding table (and the output head) a row for each of so many tokens, as after `tokenizer.add_tokens`: new ones are the
   * mean of the others, as in transformers; what is tied stays tied. `pad_to_multiple_of` rounds the number up. Not beside adapters: resize first,
   * then `get_peft_model`, which saves the resized matrices with the adapter.
   */
  async resize_token_embeddings(
    new_num_tokens: number | null = null,
    options: { pad_to_multiple_of?: number | null; mean_resizing?: boolean } = {},
  ): Promise<Module> {
    const owner = 'resize_token_embeddings';
    const { pad_to_multiple_of: by, mean_resizing } = readOptions(owner, options, {
      pad_to_multiple_of: null as number | null,
      mean_resizing: true,
    });
    const wanted = new_num_tokens ?? this.config.vocab_size;
    checkNumber(owner, 'new_num_tokens', wanted, { integer: true, min: 1 }, 'It is len(tokenizer): tokenizer.length.');
    if (by !== null) checkNumber(owner, 'pad_to_multiple_of', by, { integer: true, min: 1 }, '8 and 64 are common.');
    if (!mean_resizing)
      throw new OptionError(`${owner}: mean_resizing = false would draw new rows at random, which tunebook does not do; leave it true.`);
    const rows = by === null ? wanted : Math.ceil(wanted / by) * by;
    for (const [path, module] of this.namedModules())
      if (module.adapted)
        throw new OptionError(`${owner}: ${path} has an adapter. Resize the model first, and put the adapter on it then (get_peft_model).`);
    if (rows !== this.config.vocab_size) for (const layer of this.tokenLayers) await resize(layer, rows);
    this.config.vocab_size = rows;
    return this.decoder.embeddings;
  }

  readonly weightsFile = 'model.safetensors';

  /**
   * Writes config.json, generation_config.json and model.safetensors as transformers does, in fp32; where that is larger than `max_shard_size`
   * (bytes, or a text like '5GB'), as shards with an index. Matrices that are packed as bitsandbytes packs stay so.
   */
  async save_pretrained(folder: string, options: { max_shard_size?: number | string } = {}): Promise<void> {
    const { max_shard_size } = readOptions('save_pretrained', options, { max_shard_size: '50GB' as number | string });
    await mkdir(folder, { recursive: true });
    const { _name_or_path, quantization_config: how, ...config } = this.config;
    const tensors = [...this.namedTensors()];
    const { packed, others } = packedWritables(tensors, how);
    await writeShards(folder, 'model', [...others.map(writable), ...packed], max_shard_size);
    const quantization_config = packedConfig(this, tensors, how);
    const all = Object.entries({ ...config, ...(quantization_config && { quantization_config }) });
    const settings = all.filter(([name]) => !BESIDE.includes(name));
    await writeText(join(folder, 'config.json'), asFloat(sortedJson({ ...Object.fromEntries(settings), dtype: 'float32' })));
    await writeText(join(folder, 'generation_config.json'), this.generation_config.toJson());
  }

  /**
   * Pushes the model, as save_pretrained writes it, to a repository of the Hub, which is made where it is not there: 'owner/name', or 'name'
   * under the token's account.
   */
  push_to_hub(repo_id: string, options: { max_shard_size?: number | string } & GivenPush = {}): Promise<Pushed> {
    const { max_shard_size = '5GB', ...push } = options;
    return pushSaved(repo_id, push, this.printedName, async (folder) => {
      await this.save_pretrained(folder, { max_shard_size });
      await writeText(join(folder, 'README.md'), this.card());
    });
  }

  private card(): string {
    const base = this.config._name_or_path;
    const pipeline_tag = this.task_type === 'SEQ_CLS' ? 'text-classification' : 'text-generation';
    return card(
      { base_model: cardName(base), library_name: 'transformers', pipeline_tag, tags: ['tunebook'] },
      `${this.printedName}, from ${base}, saved with tunebook.`,
    );
  }

  /** Replaces the values of its tensors in fp32, those that are trained among them, by those of a saved model of the same shape. */
  restore(folder: string): Promise<void> {
    const tensors = [...this.namedTensors()];
    const parameters = tensors.flatMap(([name, t]) => (t instanceof Parameter ? [[name, t] as const] : []));
    return readParameters(join(folder, this.weightsFile), new Map(parameters), new Set(tensors.map(([name]) => name)));
  }
}

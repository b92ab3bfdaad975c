import { bytesPerToken, NotPlanned } from '../engine/ops/decode';
import * as tf from '../engine/tf';
import type { CausalLM } from '../models/causal_lm';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { Adapters } from './adapters';
import { Batch } from './batch';
import type { Embeds } from './pooling';
import { Refusal } from './refusal';
import type { ServeOptions } from './settings';
import { Stats } from './stats';
import { parserOf } from './tool_calls';

const GIB = 2 ** 30;

/** Bytes that keys and values of a token come to: by the decode op's plan; where there is none they have 32 bits. */
function bytesOf(model: CausalLM): number {
  try {
    let bytes = 0;
    tf.tidy(() => {
      bytes = bytesPerToken(model.plan());
    });
    return bytes;
  } catch (error) {
    if (!(error instanceof NotPlanned)) throw error;
  }
  const c = model.config as unknown as Record<string, number | undefined>;
  const layers = c.num_hidden_layers ?? 1;
  const hidden = c.hidden_size ?? 1;
  const heads = c.num_attention_heads ?? 1;
  return layers * (c.num_key_value_heads ?? heads) * (c.head_dim ?? hidden / heads) * 2 * 4;
}

/** All that answering needs: a model with its tokenizer and adapters, and what is being written. */
export class Service {
  readonly adapters: Adapters;
  readonly batch: Batch;
  readonly stats: Stats;
  readonly created = Math.floor(Date.now() / 1000);
  /** Tokens of prompt and answer together. */
  readonly length: number;
  /** How answers have calls of tools in them; undefined where the model knows none. */
  readonly toolParser?: string;

  constructor(
    readonly model: CausalLM,
    readonly tokenizer: Tokenizer,
    /** What requests call the model. */
    readonly name: string,
    readonly options: ServeOptions,
    readonly embeds?: Embeds,
  ) {
    this.length = Math.min(model.positions, options.max_model_len ?? model.positions);
    this.adapters = new Adapters(model, options.max_loras);
    this.batch = new Batch(model, this.adapters, {
      ...{ max_num_seqs: options.max_num_seqs, max_num_batched_tokens: options.max_num_batched_tokens },
      ...{ max_num_waiting: options.max_num_waiting },
      tokens: Math.floor((options.kv_cache_space * GIB) / bytesOf(model)),
    });
    this.stats = new Stats(() => this.batch);
    this.toolParser = options.tool_call_parser ?? parserOf(tokenizer.chat_template);
  }

  /** The adapter that a request's model means: undefined for the model itself. */
  adapterOf(name: string): string | undefined {
    if (name === this.name) return undefined;
    if (this.adapters.has(name)) return name;
    throw new Refusal(404, `The model '${name}' does not exist.`, 'invalid_request_error', 'model_not_found', 'model');
  }
}

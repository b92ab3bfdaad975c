import { FileError } from '../core/errors';
import { show } from '../core/options';
import { add } from '../engine/ops/add';
import { LayerCache } from '../engine/ops/attention';
import { type DecoderPlan, NotPlanned } from '../engine/ops/decode';
import * as tf from '../engine/tf';
import type { Gguf } from '../formats/gguf';
import { GENERATION_KEYS } from '../generate/generation_fields';
import { ACTIVATIONS, Conv1D, Embedding, LayerNorm, type Linear, Module, plannedActivation } from '../nn';
import type { Architecture, Report } from './architecture';
import { type Heads, mixed } from './attention';
import { rowsAt } from './blocks';
import { checkSizes, type ModelConfig } from './config';
import { Decoder, type Tokens } from './decoder';
import { numbersOf, tokenIds } from './gguf_metadata';
import { type KeyTable, warnOfUnknown } from './keys';
import { COMMON_KEYS } from './pre_norm_config';
import { HEAD, type WeightSource } from './source';

interface GPT2Config extends ModelConfig {
  num_attention_heads: number;
  n_inner: number;
  activation_function: string;
  layer_norm_epsilon: number;
  scale_attn_weights: boolean;
  scale_attn_by_inverse_layer_idx: boolean;
}

/** transformers' names for what other architectures call otherwise; files may have either. */
const CALLED: Record<string, string> = {
  n_embd: 'hidden_size',
  n_positions: 'max_position_embeddings',
  n_head: 'num_attention_heads',
  n_layer: 'num_hidden_layers',
};
const SIZES = { n_embd: 768, n_positions: 1024, n_head: 12, n_layer: 12 };

const dropped = { ignored: 'tunebook drops no activations while it trains' };
const obeyed = (...names: string[]): KeyTable => Object.fromEntries(names.map((name) => [name, 'obeyed']));
const none = (...names: string[]): KeyTable => Object.fromEntries(names.map((name) => [name, 'no effect']));
const KEYS: KeyTable = {
  ...COMMON_KEYS,
  ...obeyed(...Object.keys(CALLED), 'num_attention_heads', 'n_inner', 'activation_function', 'layer_norm_epsilon'),
  ...obeyed('scale_attn_weights', 'scale_attn_by_inverse_layer_idx'),
  /** Of transformers' own arithmetic, of another head, and what older files had. */
  ...none('reorder_and_upcast_attn', 'n_ctx', 'task_specific_params', 'rope_scaling'),
  ...none('summary_type', 'summary_use_proj', 'summary_activation', 'summary_proj_to_labels', 'summary_first_dropout'),
  ...{ resid_pdrop: dropped, embd_pdrop: dropped, attn_pdrop: dropped },
  add_cross_attention: { refused: 'tunebook has no encoders' },
};

const DEFAULTS = {
  ...{ vocab_size: 50257, n_inner: null, activation_function: 'gelu_new', layer_norm_epsilon: 1e-5, tie_word_embeddings: true },
  ...{ scale_attn_weights: true, scale_attn_by_inverse_layer_idx: false, bos_token_id: 50256, eos_token_id: 50256 },
};

function gpt2Config(json: Record<string, unknown>, name: string): GPT2Config {
  const where = `The config.json of ${name}`;
  warnOfUnknown(
    Object.entries(json).filter(([key]) => !Object.hasOwn(GENERATION_KEYS, key)),
    KEYS,
    where,
  );
  const sizes = Object.entries(CALLED).map(([own, usual]) => [own, json[own] ?? json[usual] ?? SIZES[own as keyof typeof SIZES]]);
  const config = { ...DEFAULTS, ...json, ...Object.fromEntries(sizes), _name_or_path: name } as Record<string, unknown>;
  for (const [own, usual] of Object.entries(CALLED)) config[usual] = config[own];
  checkSizes(config, ['vocab_size', ...Object.keys(CALLED)], ['n_inner'], name);
  const {
    n_embd: hidden,
    n_head: heads,
    activation_function: act,
  } = config as { n_embd: number; n_head: number; activation_function: string };
  config.n_inner ??= 4 * hidden;
  if (hidden % heads) throw new FileError(`The configuration of ${name} does not fit together: ${hidden} dimensions over ${heads} heads.`);
  if (!Object.hasOwn(ACTIVATIONS, act))
    throw new FileError(
      `${where} sets activation_function to ${show(act)}, which tunebook does not have; it has ${Object.keys(ACTIVATIONS).join(', ')}.`,
    );
  return config as unknown as GPT2Config;
}

class GPT2Attention extends Module {
  constructor(
    private readonly its: Heads,
    readonly c_attn: Conv1D,
    readonly c_proj: Conv1D,
  ) {
    super();
  }

  /** x [batch, seq, hidden] -> the same */
  forward(x: tf.Tensor, tokens: Tokens<object>, cache?: LayerCache, position?: number): tf.Tensor {
    const { heads, dim } = this.its;
    const packed = tf.reshape(this.c_attn.forward(x), [...x.shape.slice(0, 2), 3 * heads, dim]);
    return this.c_proj.forward(mixed(packed, this.its, tokens, cache, position));
  }
}

class GPT2MLP extends Module {
  constructor(
    private readonly act: string,
    readonly c_fc: Conv1D,
    readonly c_proj: Conv1D,
  ) {
    super();
  }

  forward(x: tf.Tensor): tf.Tensor {
    const inner = this.c_fc.forward(x);
    return this.c_proj.forward(ACTIVATIONS[this.act](inner, tf.onesLike(inner)));
  }
}

class GPT2Block extends Module {
  constructor(
    readonly ln_1: LayerNorm,
    readonly attn: GPT2Attention,
    readonly ln_2: LayerNorm,
    readonly mlp: GPT2MLP,
  ) {
    super();
  }

  forward(x: tf.Tensor, tokens: Tokens<object>, cache?: LayerCache, position?: number, at?: tf.Tensor1D): tf.Tensor {
    return tf.tidy(() => {
      const h = rowsAt(add({ a: x, b: this.attn.forward(this.ln_1.forward(x), tokens, cache, position) }, {}), at);
      return add({ a: h, b: this.mlp.forward(this.ln_2.forward(h)) }, {});
    });
  }
}

class GPT2Decoder extends Decoder<object> {
  constructor(
    private readonly config: GPT2Config,
    readonly wte: Embedding,
    readonly wpe: Embedding,
    readonly h: GPT2Block[],
    readonly ln_f: LayerNorm,
  ) {
    super();
  }

  static async load(config: GPT2Config, source: WeightSource, report: Report): Promise<GPT2Decoder> {
    const { hidden_size: hidden, num_hidden_layers: count, num_attention_heads: heads, layer_norm_epsilon: eps } = config;
    const inner = config.n_inner;
    const dim = hidden / heads;
    const norm = async (name: string) =>
      new LayerNorm(await source.vector(`${name}.weight`, hidden), await source.vector(`${name}.bias`, hidden), eps);
    const linear = async (name: string, out: number, into: number) =>
      new Conv1D(await source.weight(`${name}.weight`, out, into), await source.vector(`${name}.bias`, out));
    const { embeddings } = source;
    const table = config.tie_word_embeddings && !source.has(embeddings) && source.has(HEAD) ? HEAD : embeddings;
    const wte = new Embedding(await source.table(table, config.vocab_size, hidden));
    const wpe = new Embedding(await source.table('transformer.wpe.weight', config.max_position_embeddings, hidden));
    const blocks: GPT2Block[] = [];
    for (let i = 0; i < count; i++) {
      const at = `transformer.h.${i}`;
      const scale = (config.scale_attn_weights ? dim ** -0.5 : 1) / (config.scale_attn_by_inverse_layer_idx ? i + 1 : 1);
      blocks.push(
        new GPT2Block(
          await norm(`${at}.ln_1`),
          new GPT2Attention(
            { heads, groups: heads, dim, scale, turn: '' },
            await linear(`${at}.attn.c_attn`, 3 * hidden, hidden),
            await linear(`${at}.attn.c_proj`, hidden, hidden),
          ),
          await norm(`${at}.ln_2`),
          new GPT2MLP(
            config.activation_function,
            await linear(`${at}.mlp.c_fc`, inner, hidden),
            await linear(`${at}.mlp.c_proj`, hidden, inner),
          ),
        ),
      );
      report(i + 1, count);
    }
    return new GPT2Decoder(config, wte, wpe, blocks, await norm('transformer.ln_f'));
  }

  get base_model_prefix(): string {
    return 'transformer';
  }
  protected get origin(): string {
    return this.config._name_or_path;
  }
  get positions(): number {
    return this.config.max_position_embeddings;
  }
  protected get blocks(): readonly GPT2Block[] {
    return this.h;
  }
  get embeddings(): Embedding {
    return this.wte;
  }

  embed(ids: tf.Tensor2D): tf.Tensor3D {
    return this.wte.forward(ids) as tf.Tensor3D;
  }

  protected override begin(x: tf.Tensor3D, positions: number[]): tf.Tensor3D {
    return tf.add(x, this.wpe.forward(tf.tensor1d(positions, 'int32')));
  }

  override plan(head: Linear): DecoderPlan {
    const { config, prompt } = this;
    const { hidden_size: hidden, num_attention_heads: heads } = config;
    if (config.scale_attn_by_inverse_layer_idx)
      throw new NotPlanned('each layer scales its scores otherwise (scale_attn_by_inverse_layer_idx)');
    return {
      ...{ hidden, inner: config.n_inner, heads, groups: heads, dim: hidden / heads },
      activation: plannedActivation(config.activation_function),
      rotations: () => [],
      embed: this.wte.planned(),
      positions: this.wpe.planned(),
      blocks: this.h.map(({ ln_1, attn, ln_2, mlp }) => ({
        norms: { beforeAttention: ln_1.planned(), beforeMlp: ln_2.planned() },
        ...{ q: attn.c_attn.planned(), o: attn.c_proj.planned(), up: mlp.c_fc.planned(), down: mlp.c_proj.planned() },
      })),
      last: this.ln_f.planned(),
      head: head.planned(),
      scales: { scores: config.scale_attn_weights ? undefined : 1 },
      prompt: prompt && (() => prompt.rows()),
    };
  }

  protected tables(): object {
    return {};
  }

  protected finish(x: tf.Tensor): tf.Tensor3D {
    return this.ln_f.forward(x) as tf.Tensor3D;
  }

  protected layerCache(capacity: number): LayerCache {
    const { num_attention_heads: heads, hidden_size: hidden } = this.config;
    return new LayerCache(capacity, heads, hidden / heads);
  }
}

/** What a file's metadata says in config.json's terms. */
function configOfGguf(gguf: Gguf): Record<string, unknown> {
  const get = numbersOf(gguf, 'gpt2');
  return {
    vocab_size: gguf.tensors.get('token_embd.weight')?.shape[0],
    n_embd: get('embedding_length'),
    n_positions: get('context_length'),
    n_head: get('attention.head_count'),
    n_layer: get('block_count'),
    n_inner: get('feed_forward_length'),
    layer_norm_epsilon: get('attention.layer_norm_epsilon'),
    tie_word_embeddings: !gguf.tensors.has('output.weight'),
    ...tokenIds(gguf.metadata),
  };
}

const NAMES: [string, string][] = [
  ['token_embd', 'transformer.wte'],
  ['position_embd', 'transformer.wpe'],
  ['output_norm', 'transformer.ln_f'],
  ['output', 'lm_head'],
  ['blk.{}.attn_norm', 'transformer.h.{}.ln_1'],
  ['blk.{}.attn_qkv', 'transformer.h.{}.attn.c_attn'],
  ['blk.{}.attn_output', 'transformer.h.{}.attn.c_proj'],
  ['blk.{}.ffn_norm', 'transformer.h.{}.ln_2'],
  ['blk.{}.ffn_up', 'transformer.h.{}.mlp.c_fc'],
  ['blk.{}.ffn_down', 'transformer.h.{}.mlp.c_proj'],
];

/** GPT-2 (Radford et al., 2019, https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf). */
export const gpt2: Architecture<GPT2Config> = {
  model_type: 'gpt2',
  name: 'GPT2',
  classes: { ForCausalLM: 'GPT2LMHeadModel' },
  layout: { base: 'transformer', embeddings: 'wte', turned: /\.(c_attn|c_proj|c_fc)\.weight$/ },
  keys: KEYS,
  config: gpt2Config,
  decoder: (config, source, report) => GPT2Decoder.load(config, source, report),
  gguf: {
    keys: {
      ...obeyed('vocab_size', 'context_length', 'embedding_length', 'block_count', 'feed_forward_length'),
      ...obeyed('attention.head_count', 'attention.layer_norm_epsilon'),
      /** As many as heads. */
      'attention.head_count_kv': 'no effect',
    },
    config: async (gguf) => configOfGguf(gguf),
    names: () => ({
      tensors: NAMES.flatMap(([from, to]) => ['weight', 'bias'].map((kind): [string, string] => [`${from}.${kind}`, `${to}.${kind}`])),
      elsewhere: /^$/,
    }),
  },
};

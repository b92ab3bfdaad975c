import { LayerCache } from '../engine/ops/attention';
import type { DecoderPlan } from '../engine/ops/decode';
import * as tf from '../engine/tf';
import { Embedding, Linear, plannedActivation, RMSNorm, type RopeConfig, rotaryTables, rotation, STILL } from '../nn';
import type { Report } from './architecture';
import { Attention, JoinedAttention, type Turns } from './attention';
import { PreNormBlock, SandwichBlock } from './blocks';
import { Decoder, type LogitRule } from './decoder';
import { GatedMLP, JoinedGatedMLP } from './gated_mlp';
import type { PreNormConfig } from './pre_norm_config';
import { HEAD, type WeightSource } from './source';

/** In what the decoders built like Llama differ, beside their sizes. */
export interface Build {
  /** Which linear layers have a bias. */
  biases: { q: boolean; k: boolean; v: boolean; o: boolean; mlp: boolean };
  /** Tokens that a token of this layer sees, itself among them; undefined: all before it. */
  windowOf(layer: number): number | undefined;
  /** Rotations by name, and which of them each layer has ('': none); by default config.json's. */
  ropes?: Record<string, RopeConfig>;
  ropeOf?(layer: number): string;
  /** What scores are multiplied by; by default 1 / sqrt(head_dim). */
  scale?: number;
  /** What scores are capped at, see `Heads`. */
  cap?: number | null;
  /** Norms of each head's queries and keys (q_norm, k_norm). */
  headNorms?: boolean;
  /** One matrix for queries, keys and values (qkv_proj), and one for gate and up (gate_up_proj). */
  joined?: boolean;
  /** Norms after attention and feed-forward layer too: see `SandwichBlock`. */
  sandwich?: boolean;
  /** The gain of a norm is its weight and this. */
  gain?: number;
  /** The feed-forward layer's activation; by default config.json's `hidden_act`. */
  act?: string;
  /** What embeddings are multiplied by in their table's module; and all that goes into the first block, learned prompts too. */
  embeddingScale?: number;
  inputScale?: number;
  /** How often what a block's halves make is added. */
  residualScale?: number;
  logits?: LogitRule;
}

type Blocks = PreNormBlock | SandwichBlock;

/** The rotation that config.json has, where it has one. */
export const ropeOf = (config: PreNormConfig, parameters = config.rope_parameters): RopeConfig => ({
  dim: Math.trunc(config.head_dim * (parameters.partial_rotary_factor ?? 1)),
  theta: parameters.rope_theta ?? config.rope_theta,
  max_position_embeddings: config.max_position_embeddings,
  parameters,
});

/** Rotary positions, blocks of attention and a gated feed-forward layer with norms before them, a norm at the end. */
export class PreNormDecoder extends Decoder<Turns> {
  readonly positions: number;

  constructor(
    private readonly config: PreNormConfig,
    private readonly build: Build,
    private readonly ropes: Record<string, RopeConfig>,
    readonly embed_tokens: Embedding,
    readonly layers: Blocks[],
    readonly norm: RMSNorm,
  ) {
    super();
    // A base that grows with the text goes on beyond the positions it was trained on.
    this.positions = Math.max(
      ...Object.values(ropes).map(
        ({ max_position_embeddings: most, parameters }) => most * (parameters.rope_type === 'dynamic' ? (parameters.factor ?? 1) : 1),
      ),
    );
    for (const rope of Object.values(ropes)) rotation(rope, 1); // an unknown kind is said at once
  }

  /** Loads one of transformers' module names, with weights that `source` has by those names. */
  static async load(config: PreNormConfig, build: Build, source: WeightSource, report: Report): Promise<PreNormDecoder> {
    const { hidden_size: hidden, rms_norm_eps: eps, num_hidden_layers: count } = config;
    const norm: LoadNorm = async (name, size = hidden) => new RMSNorm(await source.vector(`${name}.weight`, size), eps, build.gain);
    // Where the file has one of two matrices that are tied, it is the other.
    const { embeddings } = source;
    const table = config.tie_word_embeddings && !source.has(embeddings) && source.has(HEAD) ? HEAD : embeddings;
    const weight = await source.table(table, config.vocab_size, hidden);
    const embed = new Embedding(weight, config.pad_token_id ?? undefined, build.embeddingScale);
    const ropes = build.ropes ?? { full: ropeOf(config) };
    const first = Object.keys(ropes)[0];
    const layers: Blocks[] = [];
    for (let i = 0; i < count; i++) {
      layers.push(await loadBlock(i, build.ropeOf?.(i) ?? first, config, build, source, norm));
      report(i + 1, count);
    }
    return new PreNormDecoder(config, build, ropes, embed, layers, await norm('model.norm'));
  }

  override printedParts(): [string, string][] {
    return [['rotary_emb', `${this.family}RotaryEmbedding()`]];
  }

  get base_model_prefix(): string {
    return 'model';
  }

  protected get origin(): string {
    return this.config._name_or_path;
  }

  protected get blocks(): readonly Blocks[] {
    return this.layers;
  }

  get embeddings(): Embedding {
    return this.embed_tokens;
  }

  override get logitRule(): LogitRule {
    return this.build.logits ?? {};
  }

  embed(ids: tf.Tensor2D): tf.Tensor3D {
    return this.embed_tokens.forward(ids) as tf.Tensor3D;
  }

  protected override begin(x: tf.Tensor3D): tf.Tensor3D {
    const { inputScale = 1 } = this.build;
    return inputScale === 1 ? x : x.mul(inputScale);
  }

  override plan(head: Linear): DecoderPlan {
    const { config, build, prompt } = this;
    const names = Object.keys(this.ropes);
    const { embeddingScale = 1, inputScale = 1, cap, logits = {} } = build;
    return {
      ...{ hidden: config.hidden_size, inner: config.intermediate_size, heads: config.num_attention_heads },
      ...{ groups: config.num_key_value_heads, dim: config.head_dim, activation: plannedActivation(build.act ?? config.hidden_act) },
      rotations: (length) => names.map((name) => rotation(this.ropes[name], length)),
      grows: Object.values(this.ropes).some(({ parameters }) => /dynamic|longrope/.test(parameters.rope_type ?? '')),
      embed: this.embed_tokens.planned(),
      blocks: this.layers.map((layer) => {
        const rotation = names.indexOf(layer.self_attn.turn);
        return { ...layer.planned(), rotation: rotation < 0 ? undefined : rotation };
      }),
      last: this.norm.planned(),
      head: head.planned(),
      scales: { embeddings: embeddingScale * inputScale, residual: build.residualScale, scores: build.scale, logits: logits.times },
      caps: { scores: cap ?? undefined, logits: logits.cap ?? undefined },
      prompt: prompt && (() => (inputScale === 1 ? prompt.rows() : tf.mul(prompt.rows(), inputScale))),
    };
  }

  protected tables(positions: number[]): Turns {
    const longest = positions.reduce((most, at) => Math.max(most, at + 1), 0);
    const turns = Object.fromEntries(
      Object.entries(this.ropes).map(([name, rope]) => [name, rotaryTables(rotation(rope, longest), positions)]),
    );
    const still = this.layers.some((_, i) => this.build.ropeOf?.(i) === '');
    return { turns: still ? { ...turns, '': rotaryTables(STILL(this.config.head_dim), positions) } : turns };
  }

  protected finish(x: tf.Tensor): tf.Tensor3D {
    return this.norm.forward(x) as tf.Tensor3D;
  }

  protected layerCache(capacity: number): LayerCache {
    return new LayerCache(capacity, this.config.num_key_value_heads, this.config.head_dim);
  }
}

type LoadNorm = (name: string, size?: number) => Promise<RMSNorm>;

async function loadBlock(
  layer: number,
  turn: string,
  config: PreNormConfig,
  build: Build,
  source: WeightSource,
  norm: LoadNorm,
): Promise<Blocks> {
  const { hidden_size: hidden, intermediate_size: inner, head_dim: dim, num_attention_heads, num_key_value_heads } = config;
  const { biases, act = config.hidden_act } = build;
  const [queries, keys] = [num_attention_heads * dim, num_key_value_heads * dim];
  const at = `model.layers.${layer}`;
  const linear = async (path: string, out: number, into: number, bias: boolean) => {
    const name = `${at}.${path}`;
    return new Linear(await source.weight(`${name}.weight`, out, into), bias ? await source.vector(`${name}.bias`, out) : undefined);
  };
  const heads = {
    ...{ heads: num_attention_heads, groups: num_key_value_heads, dim, turn },
    ...{ window: build.windowOf(layer), scale: build.scale ?? 1 / Math.sqrt(dim), cap: build.cap ?? undefined },
  };
  const output = () => linear('self_attn.o_proj', hidden, queries, biases.o);
  const down = () => linear('mlp.down_proj', hidden, inner, biases.mlp);
  const headNorm = (name: string) => (build.headNorms ? norm(`${at}.self_attn.${name}`, dim) : undefined);
  const attention = build.joined
    ? new JoinedAttention(heads, await linear('self_attn.qkv_proj', queries + 2 * keys, hidden, biases.q), await output())
    : new Attention(
        heads,
        await linear('self_attn.q_proj', queries, hidden, biases.q),
        await linear('self_attn.k_proj', keys, hidden, biases.k),
        await linear('self_attn.v_proj', keys, hidden, biases.v),
        await output(),
        await headNorm('q_norm'),
        await headNorm('k_norm'),
      );
  const mlp = build.joined
    ? new JoinedGatedMLP(act, await linear('mlp.gate_up_proj', 2 * inner, hidden, biases.mlp), await down())
    : new GatedMLP(
        act,
        await linear('mlp.gate_proj', inner, hidden, biases.mlp),
        await linear('mlp.up_proj', inner, hidden, biases.mlp),
        await down(),
      );
  const [before, after] = [await norm(`${at}.input_layernorm`), await norm(`${at}.post_attention_layernorm`)];
  if (!build.sandwich) return new PreNormBlock(attention, mlp, before, after, build.residualScale);
  return new SandwichBlock(
    ...([attention, mlp, before, after] as const),
    ...([await norm(`${at}.pre_feedforward_layernorm`), await norm(`${at}.post_feedforward_layernorm`)] as const),
  );
}

import { LayerCache } from '../engine/ops/attention';
import type { Precision } from '../engine/precision';
import type * as tf from '../engine/tf';
import { Embedding, Linear, RMSNorm, type RopeConfig, rotaryTables, rotation } from '../nn';
import type { Report } from './architecture';
import { Attention, GatedMLP, PreNormBlock, type Rotary } from './blocks';
import { Decoder } from './decoder';
import type { PreNormConfig } from './pre_norm_config';
import { EMBEDDINGS, HEAD, type WeightSource } from './source';

/** In what the decoders built like Llama differ, beside their sizes. */
export interface Build {
  /** Which linear layers have a bias. */
  biases: { q: boolean; k: boolean; v: boolean; o: boolean; mlp: boolean };
  /** Tokens that a token of this layer sees, itself among them; undefined: all before it. */
  windowOf(layer: number): number | undefined;
}

/** Rotary positions, blocks of attention and a gated feed-forward layer with norms before them, a norm at the end. */
export class PreNormDecoder extends Decoder<Rotary> {
  private readonly rope: RopeConfig;
  readonly positions: number;

  constructor(
    private readonly config: PreNormConfig,
    readonly embed_tokens: Embedding,
    readonly layers: PreNormBlock[],
    readonly norm: RMSNorm,
  ) {
    super();
    const { head_dim: dim, rope_theta: theta, max_position_embeddings, rope_parameters: parameters } = config;
    this.rope = { dim, theta, max_position_embeddings, parameters };
    // A base that grows with the text goes on beyond the positions it was trained on.
    this.positions = max_position_embeddings * (parameters.rope_type === 'dynamic' ? (parameters.factor ?? 1) : 1);
    rotation(this.rope, 1); // an unknown kind is said at once
  }

  /** Loads one of transformers' module names, with weights that `source` has by those names. */
  static async load(config: PreNormConfig, build: Build, source: WeightSource, report: Report): Promise<PreNormDecoder> {
    const { hidden_size: hidden, rms_norm_eps: eps, num_hidden_layers: count } = config;
    const norm = async (name: string) => new RMSNorm(await source.vector(`${name}.weight`, hidden), eps);
    // Where the file has one of two matrices that are tied, it is the other.
    const table = config.tie_word_embeddings && !source.has(EMBEDDINGS) && source.has(HEAD) ? HEAD : EMBEDDINGS;
    const embed = new Embedding(await source.weight(table, config.vocab_size, hidden), config.pad_token_id ?? undefined);
    const layers: PreNormBlock[] = [];
    for (let i = 0; i < count; i++) {
      layers.push(await loadBlock(i, config, build, source, norm));
      report(i + 1, count);
    }
    return new PreNormDecoder(config, embed, layers, await norm('model.norm'));
  }

  get base_model_prefix(): string {
    return 'model';
  }

  protected get origin(): string {
    return this.config._name_or_path;
  }

  protected get blocks(): readonly PreNormBlock[] {
    return this.layers;
  }

  get embeddings(): Embedding {
    return this.embed_tokens;
  }

  embed(ids: tf.Tensor2D): tf.Tensor3D {
    return this.embed_tokens.forward(ids) as tf.Tensor3D;
  }

  protected tables(positions: number[]): Rotary {
    const longest = positions.reduce((most, at) => Math.max(most, at + 1), 0);
    return rotaryTables(rotation(this.rope, longest), positions);
  }

  protected finish(x: tf.Tensor): tf.Tensor3D {
    return this.norm.forward(x) as tf.Tensor3D;
  }

  protected layerCache(capacity: number): LayerCache {
    return new LayerCache(capacity, this.config.num_key_value_heads, this.config.head_dim);
  }

  activationFloats(precision: Precision): [number, number] {
    const { hidden_size: hidden, intermediate_size: inner, head_dim: dim, num_hidden_layers: layers } = this.config;
    const heads = this.config.num_attention_heads * dim;
    const groups = this.config.num_key_value_heads * dim;
    // An activation that the fused op does not have keeps what its parts do.
    const composed = this.config.hidden_act === 'silu' ? 0 : 5 * inner;
    const block = 2 * hidden + (2 * heads + 2 * groups + 2 * inner) * (precision === 'bf16' ? 0.5 : 1) + composed;
    return [layers * block, layers * hidden + block];
  }
}

async function loadBlock(
  layer: number,
  config: PreNormConfig,
  { biases, windowOf }: Build,
  source: WeightSource,
  norm: (name: string) => Promise<RMSNorm>,
): Promise<PreNormBlock> {
  const { hidden_size: hidden, intermediate_size: inner, head_dim: dim, num_attention_heads, num_key_value_heads } = config;
  const [queries, keys] = [num_attention_heads * dim, num_key_value_heads * dim];
  const at = `model.layers.${layer}`;
  const linear = async (path: string, out: number, into: number, bias: boolean) => {
    const name = `${at}.${path}`;
    return new Linear(await source.weight(`${name}.weight`, out, into), bias ? await source.vector(`${name}.bias`, out) : undefined);
  };
  return new PreNormBlock(
    new Attention(
      { heads: num_attention_heads, groups: num_key_value_heads, dim, window: windowOf(layer) },
      await linear('self_attn.q_proj', queries, hidden, biases.q),
      await linear('self_attn.k_proj', keys, hidden, biases.k),
      await linear('self_attn.v_proj', keys, hidden, biases.v),
      await linear('self_attn.o_proj', hidden, queries, biases.o),
    ),
    new GatedMLP(
      config.hidden_act,
      await linear('mlp.gate_proj', inner, hidden, biases.mlp),
      await linear('mlp.up_proj', inner, hidden, biases.mlp),
      await linear('mlp.down_proj', hidden, inner, biases.mlp),
    ),
    await norm(`${at}.input_layernorm`),
    await norm(`${at}.post_attention_layernorm`),
  );
}

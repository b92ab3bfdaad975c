import { FileError } from '../core/errors';
import { show } from '../core/options';
import { GENERATION_KEYS } from '../generate/generation_fields';
import { ACTIVATIONS, type RopeParameters } from '../nn';
import { checkSizes, type ModelConfig } from './config';
import { type KeyTable, warnOfUnknown } from './keys';
import { type RopeDefaults, readRope } from './rope_config';

/** What config.json says of a decoder built like Llama (see PreNormDecoder), with defaults filled in. */
export interface PreNormConfig extends ModelConfig {
  intermediate_size: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  hidden_act: string;
  rms_norm_eps: number;
  rope_theta: number;
  rope_parameters: RopeParameters;
}

/** Keys of every decoder's config.json. */
export const COMMON_KEYS: KeyTable = {
  model_type: 'obeyed',
  vocab_size: 'obeyed',
  hidden_size: 'obeyed',
  num_hidden_layers: 'obeyed',
  max_position_embeddings: 'obeyed',
  tie_word_embeddings: 'obeyed',
  bos_token_id: 'obeyed',
  eos_token_id: 'obeyed',
  pad_token_id: 'obeyed',
  transformers_weights: 'obeyed',
  architectures: 'no effect',
  transformers_version: 'no effect',
  _name_or_path: 'no effect',
  name_or_path: 'no effect',
  _commit_hash: 'no effect',
  /** Weights are kept as their files have them. */
  dtype: 'no effect',
  torch_dtype: 'no effect',
  initializer_range: 'no effect',
  use_cache: 'no effect',
  /** What a forward pass returns beside logits. */
  output_hidden_states: 'no effect',
  output_attentions: 'no effect',
  return_dict: 'no effect',
  use_return_dict: 'no effect',
  torchscript: 'no effect',
  chunk_size_feed_forward: 'no effect',
  keys_to_ignore_at_inference: 'no effect',
  attn_implementation: 'no effect',
  _attn_implementation_autoset: 'no effect',
  /** Of heads that classify. */
  id2label: 'no effect',
  label2id: 'no effect',
  num_labels: 'no effect',
  problem_type: 'no effect',
  is_encoder_decoder: { refused: 'tunebook has no encoders' },
  per_layer_config: { refused: 'tunebook gives all layers the same sizes' },
  /** Read with the weights. */
  quantization_config: 'obeyed',
  attention_dropout: { ignored: 'tunebook drops no attention weights while it trains' },
  auto_map: { ignored: "code beside a model's files is never run; tunebook computes the architecture that model_type names" },
};

/** What becomes of the keys that the config.json of every decoder built like Llama has. */
export const PRE_NORM_KEYS: KeyTable = {
  ...COMMON_KEYS,
  intermediate_size: 'obeyed',
  num_attention_heads: 'obeyed',
  num_key_value_heads: 'obeyed',
  head_dim: 'obeyed',
  hidden_act: 'obeyed',
  rms_norm_eps: 'obeyed',
  rope_parameters: 'obeyed',
  rope_scaling: 'obeyed',
  rope_theta: 'obeyed',
  partial_rotary_factor: 'obeyed',
  original_max_position_embeddings: 'obeyed',
};

/** What is said; null where a size has a default says nothing. */
const said = (json: Record<string, unknown>, names: string[]) =>
  Object.fromEntries(Object.entries(json).filter(([name, value]) => value !== undefined && (value !== null || !names.includes(name))));

/** The configuration of a decoder built like Llama, with `defaults` of its own. Keys that are not obeyed are named, see `KeyUse`. */
export function preNormConfig<C extends PreNormConfig>(
  json: Record<string, unknown>,
  keys: KeyTable,
  defaults: Partial<C>,
  name: string,
  { act = 'hidden_act', ...rope }: RopeDefaults & { act?: string } = {},
): C {
  const where = `The config.json of ${name}`;
  const settings = Object.entries(json).filter(([key]) => !Object.hasOwn(GENERATION_KEYS, key));
  warnOfUnknown(settings, keys, where);
  checkSizes(
    json,
    ['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'],
    ['num_key_value_heads', 'head_dim', 'max_position_embeddings', 'sliding_window'],
    name,
  );
  const heads = json.num_attention_heads as number;
  const filled: Partial<PreNormConfig> = { [act]: 'silu', rms_norm_eps: 1e-6, tie_word_embeddings: false, ...defaults };
  const given = said(
    json,
    [...Object.keys(filled), 'head_dim', 'num_key_value_heads'].filter((key) => !/^sliding_window$|_token_id$|_softcapping$/.test(key)),
  );
  // What was left out is the architecture's default; what was said to be null is as many as there are heads.
  const groups = json.num_key_value_heads === null ? heads : (filled.num_key_value_heads ?? heads);
  const config = {
    head_dim: (json.hidden_size as number) / heads,
    ...filled,
    num_key_value_heads: groups,
    ...given,
    _name_or_path: name,
  } as unknown as C;
  const rope_parameters = readRope(json, config.max_position_embeddings, where, rope);
  Object.assign(config, { rope_parameters, rope_theta: rope_parameters.rope_theta });
  const { num_key_value_heads: kv, head_dim: dim, [act]: used } = config;
  if (heads % kv || dim % 2)
    throw new FileError(
      `The configuration of ${name} does not fit together: ${heads} heads over ${kv} key/value heads, each of ${dim} dimensions.`,
    );
  if (!Object.hasOwn(ACTIVATIONS, used as string))
    throw new FileError(
      `${where} sets ${act} to ${show(used)}, which tunebook does not have; it has ${Object.keys(ACTIVATIONS).join(', ')}.`,
    );
  return config;
}

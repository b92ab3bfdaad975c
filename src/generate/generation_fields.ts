/** What generation does, under transformers' names. Null: not used. */
export interface GenerationSettings {
  /** Tokens of prompt and answer together; max_new_tokens, those of the answer alone, goes before it. Default: null. */
  max_length: number | null;
  /** Tokens of the answer, at most; null: 20, or 256 in a pipeline. Default: null. */
  max_new_tokens: number | null;
  /** Tokens of prompt and answer together before the end token may come. Default: 0. */
  min_length: number | null;
  /** Tokens of the answer before the end token may come. Default: null. */
  min_new_tokens: number | null;
  /** Seconds after which no further token is begun. Default: null. */
  max_time: number | null;
  /** Draw each token by its probability (with `seed`), instead of taking the likeliest. Default: false. */
  do_sample: boolean;
  /** What logits are divided by before a token is drawn: below 1 likely tokens come more often, above 1 less. Default: 1. */
  temperature: number | null;
  /** Draw among so many of the likeliest tokens; 0: among all. Default: 50. */
  top_k: number | null;
  /** Draw among the likeliest tokens that together have this probability. Default: 1. */
  top_p: number | null;
  /** Draw among tokens of at least this share of the likeliest one's probability. Default: null. */
  min_p: number | null;
  /** Draw among the tokens whose surprise is nearest to the expected one, up to this probability. Default: 1. */
  typical_p: number | null;
  /** Draw among tokens of at least this probability; 0: among all. Default: 0. */
  epsilon_cutoff: number | null;
  /** Draw among tokens of a probability that depends on the entropy, by this; 0: among all. Default: 0. */
  eta_cutoff: number | null;
  /** Above 1 tokens that are there already become less likely. Default: 1. */
  repetition_penalty: number | null;
  /** No run of so many tokens comes twice; 0: any may. Default: 0. */
  no_repeat_ngram_size: number | null;
  /** Rows of token ids that are not written. Default: null. */
  bad_words_ids: number[][] | null;
  /** Ids of tokens that are never written. Default: null. */
  suppress_tokens: number[] | null;
  /** Ids of tokens that no answer begins with. Default: null. */
  begin_suppress_tokens: number[] | null;
  /** The end token that an answer of full length is closed with. Default: null. */
  forced_eos_token_id: number | number[] | null;
  /** Tokens that end an answer; null: those of the model's own configuration. Default: null. */
  eos_token_id: number | number[] | null;
  /** Texts that end an answer, as soon as its last token completes one; the answer has it. Needs `tokenizer`. Default: null. */
  stop_strings: string | string[] | null;
  /** From `start` new tokens on the end token becomes likelier, by `factor` to the power of how many there are beyond: [start, factor]. Default: null. */
  exponential_decay_length_penalty: [start: number, factor: number] | null;
  /** Answers to each row, of different draws or beams. Default: 1. */
  num_return_sequences: number | null;
  /** Beginnings of answers that are followed at once; the likeliest whole answer wins. 1: no such search. Default: 1. */
  num_beams: number | null;
  /** When beam search ends: true with as many answers as beams; false when a better one is unlikely; 'never' when none can come. Default: false. */
  early_stopping: boolean | 'never' | null;
  /** Answers of beam search are compared by their log-probability over their length to this power: above 0 longer ones win. Default: 1. */
  length_penalty: number | null;
  /** Whether what beam search adds up are log-probabilities again once rules have changed them. Default: false. */
  renormalize_logits: boolean | null;
  /** Taken off the logit of each token that the answer has, as in OpenAI's interface; transformers has no such field. Default: 0. */
  presence_penalty: number | null;
  /** The same as often as the answer has it. Default: 0. */
  frequency_penalty: number | null;
}

/** Fields that generation_config.json has no names for. */
const BEYOND = ['presence_penalty', 'frequency_penalty'];

/** transformers' own values where neither the call nor the model says anything; without lengths 20 tokens are written. */
export const DEFAULTS: GenerationSettings = {
  max_length: null,
  max_new_tokens: null,
  min_length: 0,
  min_new_tokens: null,
  max_time: null,
  do_sample: false,
  temperature: 1,
  top_k: 50,
  top_p: 1,
  min_p: null,
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  repetition_penalty: 1,
  no_repeat_ngram_size: 0,
  bad_words_ids: null,
  suppress_tokens: null,
  begin_suppress_tokens: null,
  forced_eos_token_id: null,
  eos_token_id: null,
  stop_strings: null,
  exponential_decay_length_penalty: null,
  num_return_sequences: 1,
  num_beams: 1,
  early_stopping: false,
  length_penalty: 1,
  renormalize_logits: false,
  presence_penalty: 0,
  frequency_penalty: 0,
};

/** Fields that tunebook lacks, with the values at which they do nothing. `sampling`: only where tokens are drawn. */
export const LACKING: Record<string, { off: unknown[]; sampling?: boolean }> = {
  num_beam_groups: { off: [1] },
  top_h: { off: [], sampling: true },
  encoder_repetition_penalty: { off: [1] },
  encoder_no_repeat_ngram_size: { off: [0] },
  forced_bos_token_id: { off: [] },
  sequence_bias: { off: [] },
  token_healing: { off: [false] },
  guidance_scale: { off: [1] },
  watermarking_config: { off: [] },
  penalty_alpha: { off: [0] },
  dola_layers: { off: [] },
  constraints: { off: [[]] },
  force_words_ids: { off: [[]] },
  cache_implementation: { off: ['dynamic', 'dynamic_full', 'static', 'offloaded', 'offloaded_static', 'hybrid', 'sliding_window'] },
};

/** Fields on which no written token depends: of speculation with a smaller model, of caches and of what else is returned. */
const WITHOUT_EFFECT = [
  ...['diversity_penalty', 'low_memory', 'use_cache', 'cache_config', 'max_cache_len'],
  ...['remove_invalid_values', 'pad_token_id', 'bos_token_id', 'decoder_start_token_id', 'prefill_chunk_size'],
  ...['output_attentions', 'output_hidden_states', 'output_scores', 'output_logits', 'return_dict_in_generate'],
  ...['is_assistant', 'num_assistant_tokens', 'num_assistant_tokens_schedule', 'assistant_confidence_threshold', 'assistant_early_exit'],
  ...['assistant_lookbehind', 'target_lookbehind', 'assistant_ensemble_weight', 'speculation_type', 'prompt_lookup_num_tokens'],
  ...['max_matching_ngram_size', 'use_mtp', 'compile_config', 'disable_compile', 'continuous_batching_config'],
  ...['transformers_version', '_from_model_config'],
];

/** Every field of transformers' GenerationConfig: obeyed, refused where it would change the answer, or without effect on it. */
export const GENERATION_KEYS: Readonly<Record<string, 'obeyed' | 'refused' | 'no effect'>> = Object.fromEntries([
  ...Object.keys(DEFAULTS)
    .filter((name) => !BEYOND.includes(name))
    .map((name) => [name, 'obeyed'] as const),
  ...Object.keys(LACKING).map((name) => [name, 'refused'] as const),
  ...WITHOUT_EFFECT.map((name) => [name, 'no effect'] as const),
]);

/** Names that a call may use. */
export const CALL_NAMES: Readonly<Record<string, unknown>> = Object.fromEntries(
  [...Object.keys(GENERATION_KEYS), ...BEYOND].map((name) => [name, undefined]),
);

/** Fields that say something. */
export const set = (fields: object) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));

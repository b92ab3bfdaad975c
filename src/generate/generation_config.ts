import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { sortedJson } from '../core/json';
import { checkNumber, readOptions, show } from '../core/options';
import { DISPLAY, optionsShown, type Shown } from '../core/shown';
import { readJson } from '../formats/json';
import { resolveFile } from '../hub/resolve';
import { HUB_DEFAULTS, type HubOptions } from '../hub/settings';

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
}

/** transformers' own values where neither the call nor the model says anything; without lengths 20 tokens are written. */
const DEFAULTS: GenerationSettings = {
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
};

/** Fields that tunebook lacks, with the values at which they do nothing. `sampling`: only where tokens are drawn. */
const LACKING: Record<string, { off: unknown[]; sampling?: boolean }> = {
  num_beams: { off: [1] },
  num_beam_groups: { off: [1] },
  num_return_sequences: { off: [1] },
  stop_strings: { off: [[]] },
  top_h: { off: [], sampling: true },
  encoder_repetition_penalty: { off: [1] },
  encoder_no_repeat_ngram_size: { off: [0] },
  forced_bos_token_id: { off: [] },
  exponential_decay_length_penalty: { off: [] },
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

/** Fields on which no written token depends: of beams, of speculation with a smaller model, of caches and of what else is returned. */
const WITHOUT_EFFECT = [
  ...['early_stopping', 'length_penalty', 'diversity_penalty', 'low_memory', 'use_cache', 'cache_config', 'max_cache_len'],
  ...['renormalize_logits', 'remove_invalid_values', 'pad_token_id', 'bos_token_id', 'decoder_start_token_id', 'prefill_chunk_size'],
  ...['output_attentions', 'output_hidden_states', 'output_scores', 'output_logits', 'return_dict_in_generate'],
  ...['is_assistant', 'num_assistant_tokens', 'num_assistant_tokens_schedule', 'assistant_confidence_threshold', 'assistant_early_exit'],
  ...['assistant_lookbehind', 'target_lookbehind', 'assistant_ensemble_weight', 'speculation_type', 'prompt_lookup_num_tokens'],
  ...['max_matching_ngram_size', 'use_mtp', 'compile_config', 'disable_compile', 'continuous_batching_config'],
  ...['transformers_version', '_from_model_config'],
];

/** Every field of transformers' GenerationConfig: obeyed, refused where it would change the answer, or without effect on it. */
export const GENERATION_KEYS: Readonly<Record<string, 'obeyed' | 'refused' | 'no effect'>> = Object.fromEntries([
  ...Object.keys(DEFAULTS).map((name) => [name, 'obeyed'] as const),
  ...Object.keys(LACKING).map((name) => [name, 'refused'] as const),
  ...WITHOUT_EFFECT.map((name) => [name, 'no effect'] as const),
]);

const lacks = (name: string, value: unknown, sampled: boolean): boolean => {
  if (!Object.hasOwn(LACKING, name) || value === null || value === undefined) return false;
  const { off, sampling } = LACKING[name];
  return (sampled || !sampling) && !off.some((v) => JSON.stringify(v) === JSON.stringify(value));
};

/** Fields that say something. */
const set = (fields: object) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));

/** What a model generates with unless a call says otherwise: generation_config.json, in its own names. Fields may be assigned to. */
export class GenerationConfig {
  [name: string]: unknown;

  constructor(fields: Partial<GenerationSettings> & Record<string, unknown> = {}) {
    const known = Object.fromEntries(Object.keys(GENERATION_KEYS).map((name) => [name, undefined as unknown]));
    Object.assign(this, set(readOptions('GenerationConfig', fields, known)));
  }

  /** The generation_config.json of a model by Hub id or path. */
  static async from_pretrained(nameOrPath: string, options: Partial<HubOptions> & Record<string, unknown> = {}): Promise<GenerationConfig> {
    const path = await resolveFile(
      nameOrPath,
      'generation_config.json',
      readOptions('GenerationConfig.from_pretrained', options, HUB_DEFAULTS),
    );
    if (!path)
      throw new FileError(`${nameOrPath} has no generation_config.json. Load the model: its generation_config has what its files say.`);
    return readGenerationConfig(dirname(path), () => new GenerationConfig());
  }

  [inspect.custom](): string {
    return this[DISPLAY]()['text/plain'];
  }

  [DISPLAY](): Shown {
    return optionsShown('GenerationConfig', this);
  }

  /** What a config.json without a generation_config.json beside it says of generation, as files of older versions do. */
  static fromModelConfig(json: Record<string, unknown>): GenerationConfig {
    const found = Object.entries(json).filter(([name]) => Object.hasOwn(GENERATION_KEYS, name));
    return new GenerationConfig({ ...Object.fromEntries(found), _from_model_config: true });
  }

  /** generation_config.json as transformers writes it: what is set, keys sorted, two spaces. */
  toJson(): string {
    return sortedJson(set(this));
  }
}

/** A folder's generation_config.json, or where it has none what `otherwise` makes. Fields that nobody knows are named and left out. */
export async function readGenerationConfig(folder: string, otherwise: () => GenerationConfig): Promise<GenerationConfig> {
  const path = join(folder, 'generation_config.json');
  if (!existsSync(path)) return otherwise();
  const json = await readJson(path);
  const unknown = Object.keys(json).filter((name) => !Object.hasOwn(GENERATION_KEYS, name));
  if (unknown.length) warnOnce(`${path} has fields that neither tunebook nor transformers knows; they are ignored: ${unknown.join(', ')}.`);
  return new GenerationConfig(Object.fromEntries(Object.entries(json).filter(([name]) => !unknown.includes(name))));
}

/** The rules of the numbers: [name, rule, remedy, of sampling alone]. */
const RULES: [keyof GenerationSettings, Parameters<typeof checkNumber>[3], string, sampling?: true][] = [
  ['max_length', { integer: true, min: 1 }, 'It is how many tokens prompt and answer have at most.'],
  ['max_new_tokens', { integer: true, min: 1 }, 'It is how many tokens to write at most.'],
  ['min_length', { integer: true, min: 0 }, '0 switches it off.'],
  ['min_new_tokens', { integer: true, min: 0 }, '0 switches it off.'],
  ['max_time', { above: 0 }, 'It is in seconds.'],
  ['repetition_penalty', { above: 0 }, '1 switches it off.'],
  ['no_repeat_ngram_size', { integer: true, min: 0 }, '0 switches it off.'],
  ['temperature', { above: 0 }, 'For the most likely token each time use do_sample: false.', true],
  ['top_k', { integer: true, min: 0 }, '0 switches it off.', true],
  ['top_p', { above: 0, max: 1 }, '1 switches it off.', true],
  ['min_p', { min: 0, max: 1 }, '0 switches it off.', true],
  ['typical_p', { above: 0, max: 1 }, '1 switches it off.', true],
  ['epsilon_cutoff', { min: 0, below: 1 }, '0 switches it off.', true],
  ['eta_cutoff', { min: 0, below: 1 }, '0 switches it off.', true],
];

const ids = (value: unknown) => Array.isArray(value) && value.every((id) => Number.isInteger(id));

/**
 * What a call generates with, as transformers merges it: the call's own options before the `generation_config` given to it, before the
 * model's, before the defaults. A field that tunebook lacks is an error where the call asks for it, and a warning where the model does.
 */
export function generationSettings(
  call: Record<string, unknown>,
  given: GenerationConfig | null,
  model: GenerationConfig,
): GenerationSettings {
  const asked: Record<string, unknown> = { ...set(given ?? {}), ...call };
  const all: Record<string, unknown> = { ...DEFAULTS, ...set(model), ...asked };
  const sampled = Boolean(all.do_sample);
  for (const [name, value] of Object.entries(all)) {
    if (!lacks(name, value, sampled)) continue;
    const what = `${name} = ${show(value)}`;
    if (Object.hasOwn(asked, name))
      throw new OptionError(`generate: ${what} is an option of transformers that tunebook does not have. Leave it out.`);
    warnOnce(`The model's generation_config sets ${what}, which tunebook does not have; answers are written without it.`);
  }
  const owner = (name: string) => (Object.hasOwn(asked, name) ? 'generate' : "The model's generation_config");
  for (const [name, rule, remedy, sampling] of RULES)
    if (all[name] !== null && (!sampling || sampled || Object.hasOwn(call, name))) checkNumber(owner(name), name, all[name], rule, remedy);
  for (const name of ['eos_token_id', 'forced_eos_token_id', 'suppress_tokens', 'begin_suppress_tokens'])
    if (all[name] !== null && !ids([all[name]].flat()))
      throw new (Object.hasOwn(asked, name) ? OptionError : FileError)(
        `${owner(name)}: ${name} is ${show(all[name])}; it is a token id or a list of them.`,
      );
  const words = all.bad_words_ids;
  if (words !== null && !(Array.isArray(words) && words.every((word) => ids(word) && word.length)))
    throw new OptionError(`${owner('bad_words_ids')}: bad_words_ids is ${show(words)}; it is a list of lists of token ids.`);
  return all as unknown as GenerationSettings;
}

/** Names that a call may use. */
export const CALL_NAMES: Readonly<Record<string, unknown>> = Object.fromEntries(
  Object.keys(GENERATION_KEYS).map((name) => [name, undefined]),
);

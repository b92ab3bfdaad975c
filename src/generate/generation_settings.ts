import { FileError, OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { checkNumber, show } from '../core/options';
import type { GenerationConfig } from './generation_config';
import { DEFAULTS, type GenerationSettings, LACKING, set } from './generation_fields';

const lacks = (name: string, value: unknown, sampled: boolean): boolean => {
  if (!Object.hasOwn(LACKING, name) || value === null || value === undefined) return false;
  const { off, sampling } = LACKING[name];
  return (sampled || !sampling) && !off.some((v) => JSON.stringify(v) === JSON.stringify(value));
};

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
  ['num_beams', { integer: true, min: 1 }, '1: no beam search.'],
  ['num_return_sequences', { integer: true, min: 1 }, 'It is how many answers each row gets.'],
  ['length_penalty', {}, '1 compares answers by the mean of their tokens.'],
  ['presence_penalty', {}, '0 switches it off.'],
  ['frequency_penalty', {}, '0 switches it off.'],
  ['eta_cutoff', { min: 0, below: 1 }, '0 switches it off.', true],
];

const ids = (value: unknown) => Array.isArray(value) && value.every((id) => Number.isInteger(id));

/** How many answers there can be, and what ends them. */
function checkAnswers(all: Record<string, unknown>, owner: (name: string) => string): void {
  const { num_beams, num_return_sequences: answers, early_stopping, stop_strings, exponential_decay_length_penalty: decay } = all;
  const [beams, several] = [(num_beams ?? 1) as number, (answers ?? 1) as number];
  const fault = (name: string, what: string) => new OptionError(`${owner(name)}: ${name} is ${show(all[name])}; ${what}`);
  if (beams > 1 && several > beams) throw fault('num_return_sequences', `there are no more answers than beams: num_beams is ${beams}.`);
  if (beams === 1 && several > 1 && !all.do_sample)
    throw fault('num_return_sequences', 'the likeliest answer is one: set do_sample, or num_beams for the best of several.');
  if (![null, true, false, 'never'].includes(early_stopping as never)) throw fault('early_stopping', "it is true, false or 'never'.");
  const texts = [stop_strings ?? []].flat();
  if (!texts.every((text) => typeof text === 'string' && text)) throw fault('stop_strings', 'it is a text or a list of texts.');
  const pair = decay as unknown[] | null;
  if (pair !== null && !(Array.isArray(pair) && pair.length === 2 && pair.every((x) => typeof x === 'number')))
    throw fault('exponential_decay_length_penalty', 'it is [start, factor].');
}

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
  checkAnswers(all, owner);
  const words = all.bad_words_ids;
  if (words !== null && !(Array.isArray(words) && words.every((word) => ids(word) && word.length)))
    throw new OptionError(`${owner('bad_words_ids')}: bad_words_ids is ${show(words)}; it is a list of lists of token ids.`);
  return all as unknown as GenerationSettings;
}

import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { readOptions } from '../core/options';
import { Random } from '../core/random';
import type { Tokenizer } from '../tokenizers/tokenizer';
import { Answer, type Rules } from './answer';
import type { Decodes } from './decoding';
import { GenerationConfig } from './generation_config';
import { CALL_NAMES, type GenerationSettings } from './generation_fields';
import { generationSettings } from './generation_settings';
import { Constraint, type StructuredOutputs } from './grammar/constraint';
import { StopStrings } from './stop_strings';
import type { TextStreamer } from './streamer';

interface Own {
  /** Draws the tokens where do_sample is on: the same seed writes the same answer. Default: 42. */
  seed: number;
  /** In place of the model's own; options beside it go before it. Default: null. */
  generation_config: GenerationConfig | Record<string, unknown> | null;
  /** For stop_strings and structured_outputs: what the model's tokens say. Default: null. */
  tokenizer: Tokenizer | null;
  /**
   * What each answer has to be: { json: schema }, { json_object: true }, { choice: ['yes', 'no'] } or { regex } (vLLM's option). Tokens that do not
   * fit are not written; an answer that max_new_tokens cuts off is a beginning. Needs `tokenizer`. Default: null.
   */
  structured_outputs: StructuredOutputs | null;
  /** Is given each new token of one answer, and told its end. Default: null. */
  streamer: Pick<TextStreamer, 'put' | 'end'> | null;
  /** Of each row the name of the adapter that it goes through; '__base__' is none (PEFT's option). Default: null. */
  adapter_names: string[] | null;
  /** Called with each new token as soon as it is there, and with the number of its answer; not by beam search. Default: null. */
  on_token: ((token: number, answer: number) => void) | null;
  /** Called after each token; false ends all answers. Default: null. */
  should_continue: (() => boolean) | null;
}

/** Options of generation under transformers' names. What is left out is what the model's generation_config says. */
export type GenerateOptions = GenerationSettings & Own;

const OWN: Own = {
  ...{
    seed: 42,
    generation_config: null,
    tokenizer: null,
    structured_outputs: null,
    streamer: null,
    adapter_names: null,
    on_token: null,
    should_continue: null,
  },
};

/** What can continue a row of tokens. */
export interface Generates extends Decodes {
  /** How many tokens a text may have that is continued. */
  readonly positions: number;
  generation_config: GenerationConfig;
}

/** What a call asks for. */
export interface Call extends Rules {
  own: Own;
}

/** What is asked for by options, of a model. */
export function readCall(model: Generates, options: Partial<GenerateOptions>): Call {
  const own: Own = readOptions<Own & Record<string, unknown>>('generate', options, { ...CALL_NAMES, ...OWN });
  // One that is there and undefined is not.
  const call = Object.fromEntries(Object.entries(options).filter(([name, value]) => value !== undefined && !Object.hasOwn(OWN, name)));
  const given = own.generation_config && new GenerationConfig({ ...own.generation_config });
  const settings = generationSettings(call, given, model.generation_config);
  if (call.max_new_tokens && call.max_length)
    warnOnce('generate: of max_new_tokens and max_length the first counts, as in transformers. Leave one of them out.');
  return {
    own,
    settings,
    eos: new Set([settings.eos_token_id ?? []].flat()),
    stops: StopStrings.of(settings.stop_strings, own.tokenizer),
    form: Constraint.of(own.structured_outputs, own.tokenizer),
    until: settings.max_time === null ? Number.POSITIVE_INFINITY : performance.now() + 1000 * settings.max_time,
  };
}

/** How many tokens there may be with the prompt's; max_length counts these too. */
function limitOf({ max_length: length, max_new_tokens: fresh }: GenerationSettings, prompt: number, positions: number): number {
  const limit = fresh !== null ? prompt + fresh : (length ?? Math.min(prompt + 20, positions));
  if (limit <= prompt)
    throw new OptionError(
      `generate: the prompt has ${prompt} tokens, and max_length, which counts them too, is ${limit}. Set max_new_tokens, or a larger max_length.`,
    );
  if (limit > positions)
    warnOnce(`The model knows ${positions} positions: an answer ends there, though up to ${limit} tokens were asked for with the prompt.`);
  return limit;
}

/**
 * An answer to each row, not yet begun. As in transformers, rows stand behind padding that makes them as long as the longest: max_length and
 * min_length count it, all else does not. `several`: so many to each row, one behind another.
 */
export function beginAnswers({ positions }: Generates, rows: readonly number[][], call: Call, several = 1): Answer[] {
  for (const [i, { length }] of rows.entries()) {
    const which = rows.length > 1 ? `Prompt ${i}` : 'The prompt';
    if (!length) throw new OptionError(`generate needs at least one token to continue; ${which.toLowerCase()} is empty.`);
    if (length >= positions)
      throw new OptionError(`${which} has ${length} tokens, but the model knows only ${positions} positions. Shorten it.`);
  }
  const width = Math.max(...rows.map(({ length }) => length));
  const limit = limitOf(call.settings, width, positions);
  return rows.flatMap((row, i) =>
    Array.from({ length: several }, (_, j) => {
      // The first draws as it would alone.
      const at = i * several + j;
      const random = at ? Random.seeded(call.own.seed, at) : Random.seeded(call.own.seed);
      return new Answer(row, call, random, Math.min(limit - width + row.length, positions), width - row.length);
    }),
  );
}

import { OptionError } from '../core/errors';
import { warnOnce } from '../core/events';
import { readOptions } from '../core/options';
import { Random } from '../core/random';
import { type Continued, type Decodes, startDecoding } from './decoding';
import { CALL_NAMES, GenerationConfig, type GenerationSettings, generationSettings } from './generation_config';
import { argmax, constrain, constrains, type Progress, sample } from './logits';
import { type Prompt, promptIds } from './prompt';

interface Own {
  /** Draws the tokens where do_sample is on: the same seed writes the same answer. Default: 42. */
  seed: number;
  /** In place of the model's own; options beside it go before it. Default: null. */
  generation_config: GenerationConfig | Record<string, unknown> | null;
  /** Called with each new token as soon as it is there. Default: null. */
  on_token: ((token: number) => void) | null;
  /** Called after each token; false ends the answer. Default: null. */
  should_continue: (() => boolean) | null;
}

/** Options of generation under transformers' names. What is left out is what the model's generation_config says. */
export type GenerateOptions = GenerationSettings & Own;

const OWN: Own = { seed: 42, generation_config: null, on_token: null, should_continue: null };

/** What can continue a row of tokens. */
export interface Generates extends Decodes {
  /** How many tokens a text may have that is continued. */
  readonly positions: number;
  generation_config: GenerationConfig;
}

/** How many tokens there may be with the prompt's; max_length counts these too. */
function limitOf(o: GenerationSettings, prompt: number, positions: number): number {
  const { max_length: length, max_new_tokens: fresh } = o;
  const limit = fresh !== null ? prompt + fresh : (length ?? Math.min(prompt + 20, positions));
  if (limit <= prompt)
    throw new OptionError(
      `generate: the prompt has ${prompt} tokens, and max_length, which counts them too, is ${limit}. Set max_new_tokens, or a larger max_length.`,
    );
  if (limit > positions)
    warnOnce(`The model knows ${positions} positions: an answer ends there, though up to ${limit} tokens were asked for with the prompt.`);
  return Math.min(limit, positions);
}

/** The options that a call sets itself; one that is there and undefined is not. */
function readCall(options: object): { own: Own; call: Record<string, unknown> } {
  const all = readOptions<Own & Record<string, unknown>>('generate', options, { ...CALL_NAMES, ...OWN });
  const given = Object.entries(options).filter(([name, value]) => value !== undefined && !Object.hasOwn(OWN, name));
  return { own: all, call: Object.fromEntries(given) };
}

/**
 * Continues a row of token ids; returns the new ones (the last may be an end token). Works with a model or with an adapter around it.
 * A key/value cache keeps the cost of each token the same; the event loop gets a turn after each, so that a kernel stays responsive.
 */
export async function generate(
  model: Generates | { base_model: Generates },
  start: Prompt,
  options: Partial<GenerateOptions> = {},
): Promise<number[]> {
  const input_ids = promptIds(start);
  const decoder = 'base_model' in model ? model.base_model : model;
  const { own, call } = readCall(options);
  const given = own.generation_config && new GenerationConfig({ ...own.generation_config });
  const o = generationSettings(call, given, decoder.generation_config);
  const prompt = input_ids.length;
  if (!prompt) throw new OptionError('generate needs at least one token to continue; the prompt is empty.');
  if (call.max_new_tokens && call.max_length)
    warnOnce('generate: of max_new_tokens and max_length the first counts, as in transformers. Leave one of them out.');
  const { positions } = decoder;
  if (prompt >= positions)
    throw new OptionError(`The prompt has ${prompt} tokens, but the model knows only ${positions} positions. Shorten it.`);
  const progress: Progress = {
    tokens: [...input_ids],
    prompt,
    limit: limitOf(o, prompt, positions),
    eos: new Set([o.eos_token_id ?? []].flat()),
  };
  return write(decoder, o, own, progress);
}

async function write(model: Generates, o: GenerationSettings, own: Own, progress: Progress): Promise<number[]> {
  const { tokens, prompt, limit, eos } = progress;
  const random = Random.seeded(own.seed);
  const until = o.max_time === null ? Number.POSITIVE_INFINITY : performance.now() + 1000 * o.max_time;
  const decoding = startDecoding(model, limit);
  const free = !o.do_sample && !constrains(o);
  const choose = async (parts: Continued[]) => {
    if (free) return (await decoding.likeliest(parts))[0];
    const [logits] = await decoding.step(parts);
    constrain(logits, o, progress);
    return o.do_sample ? sample(logits, o, random) : argmax(logits);
  };
  try {
    let next = tokens;
    while (tokens.length < limit) {
      const token = await choose([{ sequence: 0, tokens: next }]);
      tokens.push(token);
      own.on_token?.(token);
      if (eos.has(token)) break;
      next = [token];
      await new Promise((resolve) => setImmediate(resolve));
      if (own.should_continue?.() === false || performance.now() > until) break;
    }
    return tokens.slice(prompt);
  } finally {
    decoding.dispose();
  }
}

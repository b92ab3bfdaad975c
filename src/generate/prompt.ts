import { OptionError } from '../core/errors';
import { show } from '../core/options';

/** What generation goes on from: token ids, or what a tokenizer's call gives. A text is refused: it has no ids before a tokenizer made them. */
export type Prompt = number[] | { input_ids: number[] } | string;

/** Its token ids. */
export function promptIds(prompt: Prompt): number[] {
  if (typeof prompt === 'string')
    throw new OptionError(
      `generate takes token ids, but got the text ${show(prompt)}. Give tokenizer(${show(prompt)}), or ask a pipeline: ` +
        "const ask = await pipeline('text-generation', model, { tokenizer }); await ask('...').",
    );
  const ids = Array.isArray(prompt) ? prompt : prompt?.input_ids;
  if (!Array.isArray(ids) || !ids.every(Number.isInteger))
    throw new OptionError(`generate takes a row of token ids, but got ${show(ids)}. Several rows are generated one by one.`);
  return ids;
}

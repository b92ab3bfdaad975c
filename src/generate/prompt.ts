import { OptionError } from '../core/errors';
import { show } from '../core/options';

/** Rows of token ids, or what a tokenizer's call gives of several texts: padding, on whichever side, is left out by its mask. */
export type Prompts = number[][] | { input_ids: number[][]; attention_mask?: number[][] };

/** What generation goes on from: token ids, or what a tokenizer's call gives. A text is refused: it has no ids before a tokenizer made them. */
export type Prompt = number[] | { input_ids: number[]; attention_mask?: number[] } | string;

/** Rows to go on from. */
export interface Rows {
  rows: number[][];
  /** Whether it was one row that was given, and not a list of them. */
  single: boolean;
}

const isRow = (ids: unknown): ids is number[] => Array.isArray(ids) && ids.every(Number.isInteger);

/** The token ids of what is given. */
export function promptRows(prompt: Prompt | Prompts): Rows {
  if (typeof prompt === 'string')
    throw new OptionError(
      `generate takes token ids, but got the text ${show(prompt)}. Give tokenizer(${show(prompt)}), or ask a pipeline: ` +
        "const ask = await pipeline('text-generation', model, { tokenizer }); await ask('...').",
    );
  const [ids, mask] = Array.isArray(prompt) ? [prompt] : [prompt?.input_ids, prompt?.attention_mask];
  const single = isRow(ids);
  const rows = (single ? [ids] : ids) as number[][];
  if (!Array.isArray(rows) || !rows.every(isRow))
    throw new OptionError(`generate takes a row of token ids or a list of rows, but got ${show(ids)}.`);
  const masks = (single && mask ? [mask] : mask) as number[][] | undefined;
  if (masks && !(Array.isArray(masks) && masks.length === rows.length && rows.every(({ length }, i) => masks[i]?.length === length)))
    throw new OptionError('generate: attention_mask has not the shape of input_ids. Give what the tokenizer made, or leave it out.');
  return { rows: rows.map((row, i) => (masks ? row.filter((_, at) => masks[i][at]) : row)), single };
}

import { DataError } from '../core/errors';
import { show } from '../core/options';
import type { Message, Tokenizer } from '../tokenizers/tokenizer';
import type { Dataset, Row } from './dataset';

/** A row as the model sees it. */
export interface Example {
  input_ids: number[];
  /** Whether each token is one to learn. */
  trained: boolean[];
  /** Of the texts that were packed into it one behind another; absent for a row of one text. */
  lengths?: number[];
}

export interface Prepared {
  examples: Example[];
  /** Rows cut at max_length, the tokens they lost, and rows dropped since no trained token was left. */
  truncated: number;
  tokensLost: number;
  dropped: number;
}

export interface SftFormat {
  max_length: number | null;
  assistant_only_loss: boolean;
  completion_only_loss: boolean | null;
  dataset_text_field: string;
}

function isMessages(value: unknown): value is Message[] {
  return Array.isArray(value) && value.length > 0 && value.every((m) => typeof m?.role === 'string' && typeof m?.content === 'string');
}

/**
 * The tokens of a conversation; with `assistantOnly` those of the assistant's turns are marked. Spans come from rendering the
 * conversation turn by turn, so that any chat template serves as it is.
 */
export function encodeConversation(messages: Message[], tokenizer: Tokenizer, assistantOnly: boolean): Example {
  const input_ids = tokenizer.apply_chat_template(messages);
  const trained = input_ids.map(() => !assistantOnly);
  if (!assistantOnly) return { input_ids, trained };
  for (const [i, { role }] of messages.entries()) {
    if (role !== 'assistant') continue;
    const before = tokenizer.apply_chat_template(messages.slice(0, i), { add_generation_prompt: true });
    const after = tokenizer.apply_chat_template(messages.slice(0, i + 1));
    let from = 0;
    while (from < before.length && before[from] === after[from]) from++;
    // What a template writes behind the end-of-turn token is not the assistant's.
    let to = after.length;
    const eos = after.lastIndexOf(tokenizer.eos_token_id ?? -1);
    if (eos >= from) to = eos + 1;
    trained.fill(true, from, Math.min(to, trained.length));
  }
  return { input_ids, trained };
}

function encodeRow(row: Row, i: number, tokenizer: Tokenizer, format: SftFormat): Example {
  const { prompt, completion, messages, input_ids: ids } = row;
  if (Array.isArray(ids)) {
    const labels = row.labels as number[] | undefined;
    const mask = (row.completion_mask ?? row.assistant_masks) as number[] | undefined;
    return { input_ids: ids as number[], trained: ids.map((_, at) => (labels ? labels[at] !== -100 : mask ? mask[at] === 1 : true)) };
  }
  if (messages !== undefined) {
    if (!isMessages(messages))
      throw new DataError(`Row ${i}: messages must be a list of {role, content} with text in both, but is ${show(messages)}.`);
    return encodeConversation(messages, tokenizer, format.assistant_only_loss);
  }
  if (prompt !== undefined && completion !== undefined) {
    const completionOnly = format.completion_only_loss ?? true;
    if (isMessages(prompt) && isMessages(completion)) {
      const before = tokenizer.apply_chat_template(prompt, { add_generation_prompt: true });
      const all = tokenizer.apply_chat_template([...prompt, ...completion]);
      return { input_ids: all, trained: all.map((_, at) => !completionOnly || at >= before.length) };
    }
    if (typeof prompt !== 'string' || typeof completion !== 'string')
      throw new DataError(
        `Row ${i}: prompt and completion must both be texts or both lists of messages, but are ${show(prompt)} and ${show(completion)}.`,
      );
    const before = tokenizer.encode(prompt);
    const all = tokenizer.encode(prompt + withEos(completion, tokenizer));
    return { input_ids: all, trained: all.map((_, at) => !completionOnly || at >= before.length) };
  }
  const text = row[format.dataset_text_field];
  if (typeof text === 'string') {
    const all = tokenizer.encode(withEos(text, tokenizer));
    return { input_ids: all, trained: all.map(() => true) };
  }
  throw new DataError(
    `Row ${i} has the fields ${Object.keys(row).join(', ') || '(none)'}, which SFT cannot use. ` +
      `Give {messages: [{role, content}]}, {prompt, completion}, or {${format.dataset_text_field}} (set dataset_text_field for another name).`,
  );
}

const withEos = (text: string, tokenizer: Tokenizer) =>
  tokenizer.eos_token && !text.endsWith(tokenizer.eos_token) ? text + tokenizer.eos_token : text;

/** Rows to tokens in TRL's order: tokenise, label, cut at max_length, drop rows with nothing left to learn. */
export function prepareSft(dataset: Dataset | Iterable<Row>, tokenizer: Tokenizer, format: SftFormat): Prepared {
  const result: Prepared = { examples: [], truncated: 0, tokensLost: 0, dropped: 0 };
  let i = 0;
  for (const row of dataset) {
    const example = encodeRow(row, i++, tokenizer, format);
    const limit = format.max_length ?? Number.POSITIVE_INFINITY;
    if (example.input_ids.length > limit) {
      result.truncated++;
      result.tokensLost += example.input_ids.length - limit;
      example.input_ids = example.input_ids.slice(0, limit);
      example.trained = example.trained.slice(0, limit);
    }
    // The first token is never predicted.
    if (example.trained.indexOf(true, 1) < 0) result.dropped++;
    else result.examples.push(example);
  }
  return result;
}

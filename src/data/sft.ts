import { DataError, TunebookError } from '../core/errors';
import { show } from '../core/options';
import type { ChatMessage, ChatOptions, Tokenizer } from '../tokenizers/tokenizer';
import { tokensIn } from './borders';
import type { Dataset, Row } from './dataset';
import { assistantSpans, completionStart } from './spans';

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

/** Whether a value is text, or parts of text. */
const isText = (content: unknown) =>
  typeof content === 'string' ||
  (Array.isArray(content) && content.every((part) => part?.type === 'text' && typeof part.text === 'string'));

/** Whether a value is a message: its content may be missing where it calls tools or has reasoning. */
function isMessage(value: unknown): value is ChatMessage {
  const { role, content, tool_calls, reasoning_content } = (value ?? {}) as ChatMessage;
  if (typeof role !== 'string') return false;
  return isText(content) || ((content === null || content === undefined) && !!(tool_calls ?? reasoning_content));
}

const isMessages = (value: unknown): value is ChatMessage[] => Array.isArray(value) && value.length > 0 && value.every(isMessage);

/**
 * The tokens of a conversation; with `assistantOnly` those of the assistant's turns are marked, with the token that ends each.
 * `options`: what the template gets besides, tools say.
 */
export function encodeConversation(
  messages: ChatMessage[],
  tokenizer: Tokenizer,
  assistantOnly: boolean,
  options: ChatOptions = {},
): Example {
  if (!assistantOnly) {
    const input_ids = tokenizer.apply_chat_template(messages, { ...options, tokenize: true });
    return { input_ids, trained: input_ids.map(() => true) };
  }
  const { text, spans } = assistantSpans(messages, tokenizer, options);
  const input_ids = tokenizer.encode(text, { add_special_tokens: false });
  return { input_ids, trained: tokensIn(text, input_ids, spans, tokenizer) };
}

/** The tools of a row, which many data sets hold as JSON, and its further variables for the template. */
function chatOptions({ tools, chat_template_kwargs: more }: Row): ChatOptions {
  let list = tools;
  if (typeof tools === 'string') {
    try {
      list = JSON.parse(tools);
    } catch (error) {
      throw new DataError(`tools is not JSON (${(error as Error).message}): ${show(tools)}.`);
    }
  }
  if (list !== undefined && list !== null && !(Array.isArray(list) && list.every((tool) => tool && typeof tool === 'object')))
    throw new DataError(`tools must be a list of JSON schemas (objects), or that list as JSON, but is ${show(tools)}.`);
  if (more !== undefined && more !== null && (typeof more !== 'object' || Array.isArray(more)))
    throw new DataError(`chat_template_kwargs must be an object of the template's variables, but is ${show(more)}.`);
  return { tools: (list ?? undefined) as object[] | undefined, ...(more as object | undefined) };
}

/** A text's tokens with those that the tokenizer puts around it; trained from character `from` on. */
function encodeText(text: string, from: number, tokenizer: Tokenizer): Example {
  const all = tokenizer.encode(text);
  const plain = tokenizer.encode(text, { add_special_tokens: false });
  const inside = tokensIn(text, plain, [[from, text.length]], tokenizer);
  const around = all.length - plain.length;
  let before = 0;
  while (before < around && !plain.every((id, i) => all[before + i] === id)) before++;
  return { input_ids: all, trained: all.map((_, i) => i >= before && (inside[i - before] ?? true)) };
}

function encodeCompletion(row: Row, tokenizer: Tokenizer, format: SftFormat): Example {
  const { prompt, completion } = row;
  const completionOnly = format.completion_only_loss ?? true;
  if (isMessages(prompt) && isMessages(completion)) {
    const options = chatOptions(row);
    const example = encodeConversation([...prompt, ...completion], tokenizer, format.assistant_only_loss, options);
    if (!completionOnly) return example;
    const { text, from } = completionStart(prompt, completion, tokenizer, options);
    const inside = tokensIn(text, example.input_ids, [[from, text.length]], tokenizer);
    return { ...example, trained: example.trained.map((trained, i) => trained && inside[i]) };
  }
  if (typeof prompt !== 'string' || typeof completion !== 'string')
    throw new DataError(
      `prompt and completion must both be texts or both lists of messages, but are ${show(prompt)} and ${show(completion)}.`,
    );
  return encodeText(prompt + withEos(completion, tokenizer), completionOnly ? prompt.length : 0, tokenizer);
}

function encodeRow(row: Row, tokenizer: Tokenizer, format: SftFormat): Example {
  const { prompt, completion, messages, input_ids: ids } = row;
  if (Array.isArray(ids)) {
    const labels = row.labels as number[] | undefined;
    const mask = (row.completion_mask ?? row.assistant_masks) as number[] | undefined;
    return { input_ids: ids as number[], trained: ids.map((_, at) => (labels ? labels[at] !== -100 : mask ? mask[at] === 1 : true)) };
  }
  if (messages !== undefined) {
    if (!isMessages(messages))
      throw new DataError(
        `messages must be a list of {role, content} with content a text, or a list of {type: 'text', text}, or null in a turn with tool_calls, but is ${show(messages)}.`,
      );
    return encodeConversation(messages, tokenizer, format.assistant_only_loss, chatOptions(row));
  }
  if (prompt !== undefined && completion !== undefined) return encodeCompletion(row, tokenizer, format);
  const text = row[format.dataset_text_field];
  if (typeof text === 'string') {
    const all = tokenizer.encode(withEos(text, tokenizer));
    return { input_ids: all, trained: all.map(() => true) };
  }
  throw new DataError(
    `has the fields ${Object.keys(row).join(', ') || '(none)'}, which SFT cannot use. ` +
      `Give {messages: [{role, content}]}, {prompt, completion}, or {${format.dataset_text_field}} (set dataset_text_field for another name).`,
  );
}

/** The row's tokens, or an error that says which row it is. */
function encodeNumbered(row: Row, i: number, tokenizer: Tokenizer, format: SftFormat): Example {
  try {
    return encodeRow(row, tokenizer, format);
  } catch (error) {
    if (!(error instanceof TunebookError)) throw error;
    throw new DataError(`Row ${i}${error.message.startsWith('has ') ? '' : ':'} ${error.message}`);
  }
}

const withEos = (text: string, tokenizer: Tokenizer) =>
  tokenizer.eos_token && !text.endsWith(tokenizer.eos_token) ? text + tokenizer.eos_token : text;

/** Rows to tokens in TRL's order: tokenise, label, cut at max_length, drop rows with nothing left to learn. */
export function prepareSft(dataset: Dataset | Iterable<Row>, tokenizer: Tokenizer, format: SftFormat): Prepared {
  const result: Prepared = { examples: [], truncated: 0, tokensLost: 0, dropped: 0 };
  let i = 0;
  for (const row of dataset) {
    const example = encodeNumbered(row, i++, tokenizer, format);
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

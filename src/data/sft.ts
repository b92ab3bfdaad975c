import { DataError, TunebookError } from '../core/errors';
import { show } from '../core/options';
import type { ChatMessage, ChatOptions, Tokenizer } from '../tokenizers/tokenizer';
import { tokensIn } from './borders';
import type { Dataset, Row } from './dataset';
import { plainRow } from './layouts';
import { assistantSpans, completionStart, saysTurns } from './spans';

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
  /** Of each example: the number of its row, and the tokens it lost. */
  origins: { row: number; lost: number }[];
  /** Rows cut at max_length, the tokens they lost, and rows dropped since no trained token was left. */
  truncated: number;
  tokensLost: number;
  dropped: number;
  /** The numbers of the rows that were dropped. */
  droppedRows: number[];
}

export interface SftFormat {
  max_length: number | null;
  assistant_only_loss: boolean;
  completion_only_loss: boolean | null;
  dataset_text_field: string;
  /** Which end of a row that is too long is kept. Default: 'keep_start'. */
  truncation_mode?: 'keep_start' | 'keep_end';
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
 * The tokens of a conversation; with `assistantOnly`, or where turns say it of themselves, those of the turns to learn are marked, with the token that
 * ends each. `options`: what the template gets besides, tools say.
 */
export function encodeConversation(
  messages: ChatMessage[],
  tokenizer: Tokenizer,
  assistantOnly: boolean,
  options: ChatOptions = {},
): Example {
  if (!assistantOnly && !saysTurns(messages)) {
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

/** Token ids as they are, with what says which of them are learned: labels (-100: not), or masks, of which all that there are must have a 1. */
function encodeTokens(row: Row, ids: unknown[], { completion_only_loss }: SftFormat): Example {
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || (id as number) < 0);
  if (wrong >= 0 || !ids.length)
    throw new DataError(`input_ids must be a list of token ids, but ${ids.length ? `has ${show(ids[wrong])} at ${wrong}` : 'is empty'}.`);
  const beside = (name: string): number[] | undefined => {
    const list = row[name];
    if (list === undefined || list === null) return undefined;
    if (!Array.isArray(list) || list.length !== ids.length)
      throw new DataError(
        `${name} must be a list with a number for each of ${ids.length} input_ids, but ${Array.isArray(list) ? `has ${list.length}` : `is ${show(list)}`}.`,
      );
    return list;
  };
  // What is padding is told by its place: the same token may end a text.
  const there = beside('attention_mask');
  const input_ids = ids as number[];
  const labels = beside('labels');
  const odd = labels?.findIndex((label, i) => label !== -100 && label !== input_ids[i]) ?? -1;
  if (odd >= 0)
    throw new DataError(
      `labels has ${show(labels?.[odd])} at ${odd}, where input_ids has ${input_ids[odd]}. A label is the token itself, or -100 where it is not learned.`,
    );
  const masks = [...((completion_only_loss ?? true) ? ['completion_mask'] : []), 'assistant_masks'].flatMap((name) => {
    const mask = beside(name);
    return mask ? [mask] : [];
  });
  const trained = input_ids.map((_, i) => (labels ? labels[i] !== -100 : masks.every((mask) => mask[i] === 1)));
  const isThere = (_: unknown, i: number) => there?.[i] !== 0;
  return { input_ids: input_ids.filter(isThere), trained: trained.filter(isThere) };
}

function encodeRow(given: Row, tokenizer: Tokenizer, format: SftFormat): Example {
  const row = plainRow(given, format.dataset_text_field, tokenizer.chat_template !== undefined);
  const { prompt, completion, messages, input_ids: ids } = row;
  if (Array.isArray(ids)) return encodeTokens(row, ids, format);
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
      `Give {messages: [{role, content}]}, {prompt, completion}, or {${format.dataset_text_field}} (set dataset_text_field for another name).${renaming(row)}`,
  );
}

/** How rows of questions and answers become such of prompts and completions. */
function renaming(row: Row): string {
  const named = (...names: string[]) => names.find((name) => typeof row[name] === 'string');
  const prompt = named('question', 'query', 'instruction', 'input', 'problem', 'prompt');
  const completion = named('answer', 'response', 'output', 'solution', 'completion', 'target');
  if (!prompt || !completion) return '';
  return ` Of these: dataset.map(({ ${prompt}, ${completion} }) => ({ prompt: ${prompt}, completion: ${completion} })).`;
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
  const result: Prepared = { examples: [], origins: [], truncated: 0, tokensLost: 0, dropped: 0, droppedRows: [] };
  let i = 0;
  for (const row of dataset) {
    const { example, lost } = prepareRow(row, i, tokenizer, format);
    if (lost) result.truncated++;
    result.tokensLost += lost;
    if (example) {
      result.examples.push(example);
      result.origins.push({ row: i, lost });
    } else result.droppedRows.push(i);
    i++;
  }
  result.dropped = result.droppedRows.length;
  return result;
}

/** The same of row i alone: without an example where nothing is left to learn. `lost`: the tokens that were cut off. */
export function prepareRow(row: Row, i: number, tokenizer: Tokenizer, format: SftFormat): { example?: Example; lost: number } {
  const example = encodeNumbered(row, i, tokenizer, format);
  const limit = format.max_length ?? Number.POSITIVE_INFINITY;
  const lost = Math.max(0, example.input_ids.length - limit);
  if (lost) {
    const kept = format.truncation_mode === 'keep_end' ? [-limit] : [0, limit];
    example.input_ids = example.input_ids.slice(...kept);
    example.trained = example.trained.slice(...kept);
  }
  // The first token is never predicted.
  return { ...(example.trained.indexOf(true, 1) < 0 ? {} : { example }), lost };
}

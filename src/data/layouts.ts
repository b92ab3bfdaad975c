import { DataError } from '../core/errors';
import { show } from '../core/options';
import type { ChatMessage } from '../tokenizers/tokenizer';
import type { Row } from './rows';

/** What ShareGPT's data sets call who speaks. */
const ROLES: Record<string, string> = {
  ...{ human: 'user', gpt: 'assistant', chatgpt: 'assistant', bing: 'assistant', bard: 'assistant', model: 'assistant', bot: 'assistant' },
  ...{ function_call: 'assistant', observation: 'tool', function_response: 'tool' },
};

/** A call, or several, as ShareGPT's data sets write them: JSON of { name, arguments }. */
function callsOf(value: unknown): object[] {
  let calls: unknown = value;
  try {
    if (typeof value === 'string') calls = JSON.parse(value);
  } catch (error) {
    throw new DataError(
      `a turn from 'function_call' must be JSON, {"name": ..., "arguments": {...}}, but is ${show(value)} (${(error as Error).message}).`,
    );
  }
  return [calls].flat().map((call) => {
    const { name, arguments: given, parameters } = (call ?? {}) as { name?: unknown; arguments?: unknown; parameters?: unknown };
    if (typeof name !== 'string') throw new DataError(`a turn from 'function_call' must name a function, but is ${show(value)}.`);
    return { type: 'function', function: { name, arguments: given ?? parameters ?? {} } };
  });
}

const isTurn = (turn: unknown): turn is Row => typeof turn === 'object' && turn !== null && !Array.isArray(turn);

/** Turns of { from, value } (ShareGPT's) as { role, content }; whatever else they have is kept. */
function chatTurns(turns: unknown[]): unknown[] {
  if (!turns.some((turn) => isTurn(turn) && 'from' in turn)) return turns;
  return turns.map((turn) => {
    if (!isTurn(turn) || typeof turn.from !== 'string') return turn;
    const { from, value, ...rest } = turn;
    const role = ROLES[from.toLowerCase()] ?? from;
    return from === 'function_call' ? { ...rest, role, tool_calls: callsOf(value) } : { ...rest, role, content: value };
  });
}

/** What Alpaca's models were trained on (https://github.com/tatsu-lab/stanford_alpaca), for models without a chat template. */
const alpacaText = (instruction: string, input: string) =>
  `Below is an instruction that describes a task${input ? ', paired with an input that provides further context' : ''}. ` +
  `Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n${input ? `### Input:\n${input}\n\n` : ''}### Response:\n`;

const isText = (value: unknown): value is string => typeof value === 'string';

/** Whether a row is one of Alpaca's: {instruction, output}, with an input or without. */
const isAlpaca = ({ instruction, output, input }: Row): boolean =>
  isText(instruction) && isText(output) && (input === undefined || input === null || isText(input));

/** A row of Alpaca's as prompt and completion: as messages for a chat template (with `system` and `history`, where it has them), else as its own text. */
function fromAlpaca(row: Row, templated: boolean): Row {
  const { instruction, output, input, system, history, ...rest } = row;
  const context = isText(input) ? input : '';
  if (!templated) return { ...rest, prompt: alpacaText(instruction as string, context), completion: output };
  const turn = (role: string, content: unknown) => ({ role, content });
  const before = Array.isArray(history)
    ? history.filter(Array.isArray).flatMap(([asked, said]) => [turn('user', asked), turn('assistant', said)])
    : [];
  return {
    ...rest,
    prompt: [
      ...(isText(system) && system ? [turn('system', system)] : []),
      ...before,
      turn('user', [instruction, context].filter(Boolean).join('\n')),
    ],
    completion: [turn('assistant', output)],
  };
}

/** A row of another layout (ShareGPT's conversations, Alpaca's instructions) as {messages} or {prompt, completion}; any other as it is. */
export function plainRow(row: Row, textField: string, templated: boolean): Row {
  if (Array.isArray(row.input_ids)) return row;
  let plain = row;
  if (row.messages === undefined && Array.isArray(row.conversations)) {
    const { conversations, system, ...rest } = row;
    const messages = chatTurns(conversations as unknown[]) as ChatMessage[];
    const opened =
      isText(system) && system && messages[0]?.role !== 'system' ? [{ role: 'system', content: system }, ...messages] : messages;
    plain = { ...rest, messages: opened };
  }
  for (const name of ['messages', 'prompt', 'completion'])
    if (Array.isArray(plain[name])) plain = { ...plain, [name]: chatTurns(plain[name] as unknown[]) };
  const known = plain.messages !== undefined || plain.completion !== undefined || isText(plain[textField]);
  return !known && isAlpaca(plain) ? fromAlpaca(plain, templated) : plain;
}

/** Whether a turn says of itself if it is learned: `weight` (1 or 0, as OpenAI's files) or `train` (as Axolotl's); undefined where it does not. */
export function learnedOf(message: ChatMessage, i: number): boolean | undefined {
  const { weight, train } = message as { weight?: unknown; train?: unknown };
  const known = (name: string, value: unknown): boolean | undefined => {
    if (value === undefined || value === null) return undefined;
    if (value === 0 || value === 1 || typeof value === 'boolean') return Boolean(value);
    throw new DataError(`message ${i} has ${name} = ${show(value)}; a turn is learned (1, true) or not (0, false), and nothing between.`);
  };
  return known('train', train) ?? known('weight', weight);
}

import { expect } from 'vitest';
import type { Random } from '../../src/core/random';
import { encodeConversation } from '../../src/data/sft';
import type { ChatMessage, Tokenizer } from '../../src/tokenizers/tokenizer';
import { callOf, type Format, resultOf, TOOL } from './formats';

/** The trained stretches of a row, in order. */
export function trained(tokenizer: Tokenizer, messages: ChatMessage[], options = {}): string[] {
  const { input_ids, trained: flags } = encodeConversation(messages, tokenizer, true, options);
  expect(input_ids).toEqual(tokenizer.apply_chat_template(messages, options));
  const runs: number[][] = [];
  for (const [i, id] of input_ids.entries())
    if (flags[i]) {
      if (!flags[i - 1]) runs.push([]);
      (runs.at(-1) as number[]).push(id);
    }
  return runs.map((ids) => tokenizer.decode(ids));
}

export const user = (content: string): ChatMessage => ({ role: 'user', content });
export const assistant = (content: string): ChatMessage => ({ role: 'assistant', content });
export const system = (content: string): ChatMessage => ({ role: 'system', content });

/** Texts that trip a mask: empty, alike, of white space, with the template's own words or the probes' in them. */
const TEXTS = [
  '',
  'Paris',
  'Paris.',
  'a1b2',
  'z8y9',
  'a',
  '2',
  ' spaces \n',
  '\nline\n\nline',
  '🙂',
  '日本語',
  'assistant',
  '<',
  '<|',
  '[/INST]',
  '### Response:',
  '</s>',
  'user\nCapital?',
];
const THOUGHTS = ['<think>\nwhy\n</think>\n\n', '<think>\n\n</think>\n\n'];

/** A conversation of one to five turns, and what of it is to be trained. */
export function conversation(format: Format, random: Random): { messages: ChatMessage[]; expected: string[]; options: object } {
  const pick = <T>(items: T[]): T => items[random.below(items.length)];
  const messages: ChatMessage[] = format.system && random.below(2) ? [system(pick(TEXTS.slice(1)))] : [];
  const turns = random.below(5) + 1;
  const tools = !!format.call && random.below(2) === 1;
  const expected: string[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const last = turn === turns - 1;
    messages.push(user(pick(TEXTS)));
    if (tools && random.below(2)) {
      const a = random.below(100);
      messages.push(callOf('add', { a }), resultOf(pick(['5', 'add', '{"name": "add"}'])));
      expected.push((format.call as NonNullable<Format['call']>)('add', `{"a": ${a}}`));
    }
    const answer = (random.below(3) ? '' : pick(THOUGHTS)) + pick(TEXTS);
    messages.push(assistant(answer));
    expected.push(format.answer(answer, last));
  }
  return { messages, expected, options: { ...format.options, ...(tools ? { tools: [TOOL] } : {}) } };
}

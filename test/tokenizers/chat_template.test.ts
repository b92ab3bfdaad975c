import { expect, it } from 'vitest';
import { Template } from '../../src/tokenizers/jinja/template';
import { tinyTokenizer } from '../tiny';

const chat = [{ role: 'user', content: 'Hi' }];

it('options that templates would swallow, lists that are none and names that are unknown are refused', () => {
  const tokenizer = tinyTokenizer();
  expect(() => tokenizer.apply_chat_template([])).toThrow(/needs at least one message/);
  expect(() => tokenizer.apply_chat_template(chat, { return_dict: true })).toThrow(/return_dict is not supported/);
  expect(() => tokenizer.apply_chat_template(chat, { tools: ['add'] as never })).toThrow(
    /tools must be a list of objects .* but is \["add"\]/,
  );
  expect(() => tokenizer.apply_chat_template(chat, { add_generation_prompt: true, continue_final_message: true })).toThrow(/not both/);
  expect(() => tinyTokenizer({ chat_template: undefined }).apply_chat_template(chat)).toThrow(/has no chat template/);
  const named = tinyTokenizer({
    chat_template: [
      { name: 'tool_use', template: 'T' },
      { name: 'chat', template: 'C' },
    ],
  });
  expect(() => named.apply_chat_template(chat)).toThrow(/no chat template named 'default'; it has tool_use, chat/);
  expect(() => named.apply_chat_template(chat, { chat_template: 'tool_usee' })).toThrow(/Did you mean chat_template: 'tool_use'/);
  expect(() => tinyTokenizer({ chat_template: [{ name: 'x' }] })).toThrow(
    /chat_template must be the text of a Jinja template, or a list of \{name, template\}/,
  );
});

it('a template that cannot be read is an error when it is used, not when the tokenizer is', () => {
  const tokenizer = tinyTokenizer({ chat_template: '{% if %}' });
  expect(tokenizer.encode('a')).toHaveLength(1);
  expect(() => tokenizer.apply_chat_template(chat)).toThrow(/The chat template cannot be read: .* It begins '\{% if %\}'/);
  tokenizer.chat_template = '{{ messages[0].content }}';
  expect(tokenizer.apply_chat_template(chat, { tokenize: false })).toBe('Hi');
  expect(() => tinyTokenizer({ chat_template: '{{ messages[0].text.more }}' }).apply_chat_template(chat)).toThrow(
    /cannot render this conversation: 'messages'\[\.\.\.\]\.text is undefined/,
  );
});

it('strftime_now tells the time as Python does', () => {
  const template = new Template("{{ strftime_now('%Y-%m-%d %H:%M:%S %y %b %B %a %A %j %I %p %-d %e %F %T %D %% %Q') }}");
  expect(template.render({}, false, new Date(2024, 6, 4, 15, 5, 9)).text).toBe(
    '2024-07-04 15:05:09 24 Jul July Thu Thursday 186 03 PM 4  4 2024-07-04 15:05:09 07/04/24 % %Q',
  );
});

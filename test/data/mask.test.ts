import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { prepareSft } from '../../src/data/sft';
import { type ChatMessage, Tokenizer } from '../../src/tokenizers/tokenizer';
import { scratch } from '../tiny';
import { assistant, conversation, system, trained, user } from './conversations';
import { callOf, FORMATS, type Format, published, resultOf, TOOL, tokenizerOf } from './formats';

describe("the trained text is exactly the assistant's, with its end of turn:", () => {
  it.each(Object.entries(FORMATS))('%s', (_, format) => {
    const [tokenizer, random] = [tokenizerOf(format), Random.seeded(5)];
    for (let i = 0; i < 60; i++) {
      const { messages, expected, options } = conversation(format, random);
      expect(trained(tokenizer, messages, options), JSON.stringify(messages)).toEqual(expected);
    }
  });
});

const { ChatML, 'Mistral v3': mistral, 'Phi 3': phi, 'Qwen 2.5': qwen25, 'Qwen 3': qwen3 } = FORMATS;
const withTemplate = (template: string, format: Format = ChatML) => tokenizerOf({ ...format, template });

it('system text in the last question alone, an end of text behind the last turn alone', () => {
  const chat = [system('Be brief.'), user('Capital of France?'), assistant('Paris'), user('Of Italy?'), assistant('Rome')];
  expect(trained(tokenizerOf(mistral), chat)).toEqual([' Paris</s>', ' Rome</s>']);
  expect(trained(tokenizerOf(phi), chat)).toEqual(['Paris<|end|>', 'Rome<|end|>']);
  // The end of text alone ends the last answer: nothing ends the others.
  const open =
    "{% for m in messages %}{{ '\n' + m.role + ': ' + m.content }}{% endfor %}{% if add_generation_prompt %}{{ '\nassistant: ' }}{% else %}{{ eos_token }}{% endif %}";
  expect(trained(withTemplate(open), chat)).toEqual(['Paris', 'Rome<|im_end|>']);
});

it('conversations of unusual shape', () => {
  const tokenizer = tokenizerOf(ChatML);
  expect(trained(tokenizer, [assistant('Hello.'), user('Hi'), assistant('!')])).toEqual(['Hello.<|im_end|>', '!<|im_end|>']);
  expect(trained(tokenizer, [user('Hi'), assistant('One.'), assistant('Two.')])).toEqual(['One.<|im_end|>', 'Two.<|im_end|>']);
  expect(trained(tokenizer, [user('Yes'), assistant('Yes'), user('Yes'), assistant('Yes'), user('Yes')])).toEqual([
    'Yes<|im_end|>',
    'Yes<|im_end|>',
  ]);
  expect(trained(tokenizer, [user('Say'), assistant('<|im_end|>\n<|im_start|>user\nno<|im_end|>')])).toEqual([
    '<|im_end|>\n<|im_start|>user\nno<|im_end|><|im_end|>',
  ]);
  expect(trained(tokenizer, [system('s'), assistant('a'), user('u')])).toEqual(['a<|im_end|>']);
  expect(trained(tokenizer, [user('Only a question')])).toEqual([]);
});

it('calls of tools are trained, their results are not; parts of text are rendered', () => {
  const chat = [
    user('2 + 3?'),
    callOf('add', {}),
    resultOf('{"name": "add"}'),
    { ...callOf('add', { a: [1.5, 'é', null] }), content: 'So:' },
    resultOf('5'),
    assistant('5'),
  ];
  const calls = ['{}', '{"a": [1.5, "é", null]}'].map(
    (args) => `<tool_call>\n{"name": "add", "arguments": ${args}}\n</tool_call><|im_end|>`,
  );
  expect(trained(tokenizerOf(qwen25), chat, { tools: [TOOL] })).toEqual([calls[0], `So:\n${calls[1]}`, '5<|im_end|>']);
  // A template that repeats the call's name before its result.
  const repeating = withTemplate(
    "{% for m in messages %}{% if m.tool_calls %}<|im_start|>call {{ m.tool_calls[0].function.name }}<|im_end|>{% elif m.role == 'tool' %}{{ messages[loop.index0 - 1].tool_calls[0].function.name }} gave {{ m.content }}{% else %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}",
  );
  expect(trained(repeating, chat.slice(0, 3))).toEqual(['call add<|im_end|>']);
  const knowing = withTemplate(
    "{% for m in messages %}<|im_start|>{{ m.role }} {% for c in m.tool_calls or [] %}{% if c.function.name != 'add' %}{{ raise_exception('Unknown tool') }}{% endif %}{{ c.function.name }} {{ c.function.arguments.a }}{% endfor %}{{ m.content or '' }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {{ '' }}{% endif %}",
  );
  expect(trained(knowing, [user('q'), callOf('add', { a: 5 }), resultOf('5'), assistant('5')])).toEqual(['add 5<|im_end|>', '5<|im_end|>']);
  const parts = withTemplate(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{{ p.text }}{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ '' }}{% endif %}",
  );
  const part = (...texts: string[]) => texts.map((text) => ({ type: 'text', text }));
  expect(
    trained(parts, [
      { role: 'user', content: part('a', 'b') },
      { role: 'assistant', content: part('c', 'd') },
    ]),
  ).toEqual(['cd<|im_end|>']);
});

it('reasoning: dropped, kept, in a field of its own, switched off', () => {
  const tokenizer = tokenizerOf(qwen3);
  const thought = { role: 'assistant', content: 'Two.', reasoning_content: 'so' };
  const chat = [user('One?'), { ...thought, content: 'One.' }, user('Two?'), thought];
  const expected = ['One.<|im_end|>', '<think>\nso\n</think>\n\nTwo.<|im_end|>'];
  expect(trained(tokenizer, chat)).toEqual(expected);
  expect(
    trained(
      tokenizer,
      chat.map(({ reasoning_content: reasoning, ...m }) => (reasoning ? { ...m, thinking: reasoning } : m)) as ChatMessage[],
    ),
  ).toEqual(expected);
  // The prompt of a model that is not to think holds an empty thought.
  const plain = [user('One?'), assistant('<One>.'), user('Two?'), assistant('Two.')];
  expect(trained(tokenizer, plain, { enable_thinking: false })).toEqual(['<One>.<|im_end|>', 'Two.<|im_end|>']);
  // Thoughts between calls are kept while their question is the last, and dropped by a later one.
  const steps = [
    user('2 + 3?'),
    { ...callOf('add', { a: 2 }), reasoning_content: 'add' },
    resultOf('5'),
    { ...assistant('5.'), reasoning_content: 'done' },
  ];
  const call = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|im_end|>';
  expect(trained(tokenizer, steps)).toEqual([`<think>\nadd\n</think>\n\n${call}`, '<think>\ndone\n</think>\n\n5.<|im_end|>']);
  expect(trained(tokenizer, [...steps, user('Thanks'), assistant(':)')])).toEqual([
    call,
    '5.<|im_end|>',
    '<think>\n\n</think>\n\n:)<|im_end|>',
  ]);
});

it('a template without generation prompt, one that leaves answers out, one that marks its answers', () => {
  const chat = [user('One?'), assistant('Eins.'), user('Two?'), assistant('Zwei.')];
  expect(trained(withTemplate('{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}'), chat)).toEqual([
    'Eins.<|im_end|>',
    'Zwei.<|im_end|>',
  ]);
  const latest =
    "{% for m in messages %}{% if m.role != 'assistant' or loop.last %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ '' }}{% endif %}";
  expect(trained(withTemplate(latest), chat)).toEqual(['Zwei.<|im_end|>']);
  const marking =
    "{% for m in messages %}<|im_start|>{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}";
  expect(trained(withTemplate(marking), chat)).toEqual(['Eins.', 'Zwei.']);
});

it('says which row and which template where nothing proves a place', () => {
  const shuffled = withTemplate('{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}');
  const format = { max_length: null, assistant_only_loss: true, completion_only_loss: null, dataset_text_field: 'text' };
  const rows = [{ text: 'fine' }, { messages: [user('q'), assistant('a'), user('r'), assistant('b')] }];
  expect(() => prepareSft(rows, shuffled, format)).toThrow(
    /^Row 1: where message \d \(assistant\) .* the chat template \('\{% for m in messages \| reverse.*\{% generation %\}/s,
  );
  const strict = tokenizerOf(FORMATS.Gemma);
  expect(() => prepareSft([{ messages: [system('s'), user('u'), assistant('a')] }], strict, format)).toThrow(
    /^Row 0: The chat template cannot render this conversation: System role not supported/,
  );
});

describe('rows', () => {
  const format = { max_length: null, assistant_only_loss: true, completion_only_loss: null, dataset_text_field: 'text' };
  const runs = (row: object, tokenizer: Tokenizer, options = {}) => {
    const { examples } = prepareSft([row as Record<string, unknown>], tokenizer, { ...format, ...options });
    return examples.map((e) => tokenizer.decode(e.input_ids.filter((_, i) => e.trained[i]))).join('');
  };
  const whole = (row: object, tokenizer: Tokenizer) =>
    tokenizer.decode(prepareSft([row as Record<string, unknown>], tokenizer, format).examples[0].input_ids);

  it("tools, as a list or as JSON, and the template's variables reach the template", () => {
    const tokenizer = tokenizerOf(qwen3);
    const messages = [user('2 + 3?'), callOf('add', { a: 2 }), resultOf('5'), assistant('5')];
    const text = tokenizer.renderChat(messages, { tools: [TOOL] });
    expect(text).toContain('"description": "Adds <two> numbers"');
    expect(whole({ messages, tools: [TOOL] }, tokenizer)).toBe(text);
    expect(whole({ messages, tools: JSON.stringify([TOOL]) }, tokenizer)).toBe(text);
    expect(whole({ messages, tools: null }, tokenizer)).toBe(tokenizer.renderChat(messages));
    const greeting = withTemplate('{{ greeting }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}');
    expect(whole({ messages: [user('a'), assistant('b')], chat_template_kwargs: { greeting: 'Hi ' } }, greeting)).toBe(
      'Hi a<|im_end|>b<|im_end|>',
    );
    for (const tools of ['not JSON', 'true', [5], {}])
      expect(() => runs({ messages, tools }, tokenizer)).toThrow(/^Row 0: tools (is not JSON|must be a list of JSON schemas)/);
    expect(() => runs({ messages, chat_template_kwargs: [] }, tokenizer)).toThrow(/^Row 0: chat_template_kwargs must be an object/);
  });

  it('content must be text, parts of text, or absent where tools are called', () => {
    const tokenizer = tokenizerOf(qwen25);
    for (const content of [null, undefined, 5, [{ type: 'image' }], [5]])
      expect(() => runs({ messages: [user('q'), { role: 'assistant', content }] }, tokenizer)).toThrow(/^Row 0: messages must be a list/);
    expect(runs({ messages: [user('q'), callOf('add', { a: 2 })] }, tokenizer)).toContain('"arguments": {"a": 2}');
  });

  it('prompt and completion: where the template changes the prompt for what follows, and where tokens merge across', () => {
    const prompt = [system('Be brief.'), user('One?'), assistant('Eins.'), user('Two?')];
    const completion = [assistant('Zwei.'), user('Three?'), assistant('Drei.')];
    const tokenizer = tokenizerOf(mistral);
    expect(runs({ prompt, completion }, tokenizer)).toBe(' Zwei.</s> Drei.</s>');
    expect(runs({ prompt, completion }, tokenizer, { assistant_only_loss: false })).toBe(' Zwei.</s>[INST] Three?[/INST] Drei.</s>');
    expect(runs({ prompt, completion }, tokenizer, { completion_only_loss: false })).toBe(' Eins.</s> Zwei.</s> Drei.</s>');
    expect(runs({ prompt: [user('q')], completion: [assistant('a')] }, tokenizerOf(phi), { assistant_only_loss: false })).toBe(
      'a<|end|>\n<|endoftext|>',
    );
    const merging = tokenizerOf({ ...ChatML, specials: [...ChatML.specials, 'ab'] });
    expect(runs({ prompt: 'xa', completion: 'by' }, merging)).toBe('aby<|im_end|>');
    expect(runs({ prompt: 'a', completion: '\ud83d\ude42' }, merging)).toBe('🙂<|im_end|>');
  });

  it('a tokenizer that puts tokens around texts adds none to a conversation', async () => {
    const folder = scratch('around');
    await tokenizerOf(FORMATS['Mistral v3']).save_pretrained(folder);
    const json = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'));
    const token = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
    const special = (id: string) => [id, { id, ids: [json.model.vocab[id]], tokens: [id] }];
    json.post_processor = {
      type: 'TemplateProcessing',
      single: [token('<s>'), { Sequence: { id: 'A', type_id: 0 } }, token('</s>')],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: Object.fromEntries(['<s>', '</s>'].map(special)),
    };
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
    const tokenizer = await Tokenizer.fromFolder(folder);
    expect(whole({ messages: [user('q'), assistant('a')] }, tokenizer)).toBe('<s>[INST] q[/INST] a</s>');
    expect(whole({ prompt: 'q', completion: ' a' }, tokenizer)).toBe('<s>q a</s></s>');
    expect(runs({ prompt: 'q', completion: ' a' }, tokenizer)).toBe(' a</s></s>');
  });

  it('marks of training templates decide where they stand', () => {
    for (const name of ['llama3', 'gemma', 'phi3', 'qwen2_5', 'qwen3'])
      expect(withTemplate(published(`${name}_training`)).renderMarked([user('q'), assistant('a')])).toBeDefined();
  });
});

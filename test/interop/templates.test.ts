import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { encodeConversation } from '../../src/data/sft';
import { Template } from '../../src/tokenizers/jinja/template';
import { type ChatMessage, type ChatOptions, Tokenizer } from '../../src/tokenizers/tokenizer';
import { callOf, FORMATS, type Format, published, resultOf, TOOL, tokenizerOf } from '../data/formats';
import { peer } from '../peer';
import { scratch } from '../tiny';
import { EXPRESSIONS, TEMPLATES, VARIABLES } from '../tokenizers/expressions';

const training = ['llama3', 'gemma', 'phi3', 'qwen2_5', 'qwen3'];
const FAMILY: Record<string, string> = { llama3: 'Llama 3', gemma: 'Gemma', phi3: 'Phi 3', qwen2_5: 'Qwen 2.5', qwen3: 'Qwen 3' };
/** Marks whose borders lie within tokens: two line ends, and the letters ab, are one. */
const ACROSS: Format = {
  ...FORMATS.ChatML,
  specials: [...FORMATS.ChatML.specials, '\n\n', 'ab'],
  template:
    "{% for m in messages %}{{ m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ 'b\\n' }}{% endfor %}",
};
const formats: Record<string, Format> = {
  ...FORMATS,
  ...Object.fromEntries(
    training.map((name) => [`${name}_training`, { ...FORMATS[FAMILY[name]], template: published(`${name}_training`) }]),
  ),
  across: ACROSS,
};

/** Several templates, as a list in tokenizer_config.json. */
const NAMED = [
  { name: 'default', template: 'default {{ messages[0].content }}{{ bos_token is defined }}{{ eos_token }}' },
  { name: 'tool_use', template: 'tools {{ tools | tojson }} {{ tools is none }} {{ documents is none }}' },
  { name: 'rag', template: 'rag {{ documents }} {{ documents[0].title if documents else "" }}' },
];

interface Case {
  tokenizer: string;
  messages: ChatMessage[];
  options: ChatOptions;
  marked: boolean;
}
type Chat = { text: string; ids: number[]; mask?: number[] } | { error: string };

const cases = [...EXPRESSIONS.map((expression) => `{{ ${expression} }}`), ...TEMPLATES];
const chats: Case[] = [];
const tokenizers: Record<string, Tokenizer> = {};
let theirs: { cases: (string | { error: string })[]; chats: Chat[]; named: Record<string, unknown> };
let folders: Record<string, string>;
let resaved: string;

/** Conversations of all shapes: for each format some, with what it may refuse among them. */
function conversations(name: string, format: Format, random: Random): Case[] {
  const texts = ['', 'xa', 'Paris', ' a \n', '\n\nab', 'ab\n', '<think>\nwhy\n</think>\n\nok', '日本語 & <b>', 'x'];
  const pick = () => texts[random.below(texts.length)];
  return Array.from({ length: 12 }, (_, i) => {
    const tools = random.below(2) === 1;
    const messages: ChatMessage[] = i % 3 ? [] : [{ role: 'system', content: pick() }];
    for (let turn = 0; turn <= i % 4; turn++) {
      messages.push({ role: 'user', content: pick() });
      if (tools) messages.push(callOf('add', { a: turn, é: [null, 1.5] }), resultOf('5'));
      messages.push({ role: 'assistant', content: pick(), ...(i % 2 ? { reasoning: 'so', name: null } : {}) });
    }
    const marked = /generation %\}/.test(format.template);
    const options: ChatOptions = { ...(tools ? { tools: [TOOL] } : {}), ...(i % 5 ? {} : { enable_thinking: false }) };
    if (i % 4 === 1) messages.pop();
    if (i % 4 === 1 && !marked) options.add_generation_prompt = true;
    return { tokenizer: name, messages, options, marked };
  });
}

beforeAll(async () => {
  const random = Random.seeded(8);
  folders = {};
  for (const [name, format] of Object.entries(formats)) {
    tokenizers[name] = tokenizerOf(format);
    folders[name] = scratch('format');
    await tokenizers[name].save_pretrained(folders[name]);
    chats.push(...conversations(name, format, random));
  }
  const listed = scratch('listed');
  await tokenizers.ChatML.save_pretrained(listed);
  writeFileSync(
    join(listed, 'tokenizer_config.json'),
    JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', eos_token: '<|im_end|>', chat_template: NAMED }),
  );
  rmSync(join(listed, 'chat_template.jinja'));
  tokenizers.listed = await Tokenizer.fromFolder(listed);
  const saved = scratch('saved');
  await tokenizers.listed.save_pretrained(saved);
  folders = { ...folders, listed, saved };
  tokenizers.saved = await Tokenizer.fromFolder(saved);
  resaved = scratch('resaved');
  const messages = [{ role: 'user', content: 'Hi' }];
  const documents = [{ title: 'T', text: 'x' }];
  for (const tokenizer of ['listed', 'saved'])
    for (const options of [
      {},
      { tools: [TOOL] },
      { chat_template: 'rag', documents },
      { chat_template: 'default', tools: [TOOL] },
      { chat_template: '{{ messages | length }}' },
      { tools: [] },
    ])
      chats.push({ tokenizer, messages, options, marked: false });
  const open = [...messages, { role: 'assistant', content: 'Well, ' }];
  for (const tokenizer of ['ChatML', 'Llama 3', 'Gemma', 'Qwen 3', 'Alpaca'])
    chats.push({ tokenizer, messages: open, options: { continue_final_message: true }, marked: false });
  const data = {
    cases: cases.map((template) => ({ template, variables: VARIABLES })),
    chats,
    tokenizers: folders,
    resaved: { listed: resaved },
  };
  theirs = peer('templates', data, 'peer_templates.py');
});

it("expressions and templates give what Python's jinja2 gives", () => {
  const ours = (template: string): string | undefined => {
    try {
      return new Template(template).render(VARIABLES).text;
    } catch {
      return undefined;
    }
  };
  const wrong = cases.flatMap((template, i) => {
    const [mine, right] = [ours(template), theirs.cases[i]];
    return mine === (typeof right === 'string' ? right : undefined) ? [] : [{ template, mine, right }];
  });
  expect(wrong).toEqual([]);
  expect(cases.length).toBeGreaterThan(400);
});

it('conversations give the text, the ids and the marked tokens of transformers, or are refused there too', () => {
  const outcomes = new Set<string>();
  for (const [i, { tokenizer: name, messages, options, marked }] of chats.entries()) {
    const right = theirs.chats[i];
    const about = `${name} ${JSON.stringify({ messages, options, right })}`;
    const tokenizer = tokenizers[name];
    outcomes.add(`${'error' in right ? 'refused' : marked ? 'marked' : 'rendered'}`);
    if ('error' in right) {
      expect(() => tokenizer.apply_chat_template(messages, options), about).toThrow(/^The chat template cannot render/);
      continue;
    }
    expect(tokenizer.apply_chat_template(messages, { ...options, tokenize: false }), about).toBe(right.text);
    expect(tokenizer.apply_chat_template(messages, options), about).toEqual(right.ids);
    if (!marked) continue;
    const { input_ids, trained } = encodeConversation(messages, tokenizer, true, options);
    expect(input_ids).toEqual(right.ids);
    expect(trained.map(Number), about).toEqual(right.mask);
  }
  expect([...outcomes].sort()).toEqual(['marked', 'refused', 'rendered']);
});

it('what is found without marks is what the training template marks, but for white space and the end of text', () => {
  const runs = (tokenizer: Tokenizer, messages: ChatMessage[], options: ChatOptions) => {
    const { input_ids, trained } = encodeConversation(messages, tokenizer, true, options);
    const text = input_ids.map((id, i) => (trained[i] ? tokenizer.decode([id]) : trained[i - 1] ? '\0' : '')).join('');
    return text
      .split('\0')
      .filter(Boolean)
      .map((run) => run.replace(/(<\|end\|>)\n<\|endoftext\|>/, '$1').trim());
  };
  // Qwen 3's training template keeps all thoughts, so that its texts differ.
  for (const name of ['llama3', 'gemma', 'phi3', 'qwen2_5'])
    for (const { tokenizer, messages, options } of chats) {
      if (tokenizer !== `${name}_training` || 'error' in theirs.chats[chats.findIndex((one) => one.messages === messages)]) continue;
      if (messages.some(({ content }) => /[^ -~]/.test(String(content)))) continue;
      expect(runs(tokenizers[FAMILY[name]], messages, options), JSON.stringify(messages)).toEqual(
        runs(tokenizers[tokenizer], messages, options),
      );
    }
});

it('templates by name are written and read as transformers does', async () => {
  const named = Object.fromEntries(NAMED.map(({ name, template }) => [name, template]));
  expect(theirs.named.listed).toEqual(named);
  expect(theirs.named.saved).toEqual(named);
  expect(theirs.named.ChatML).toBe(tokenizers.ChatML.chat_template);
  expect(readFileSync(join(folders.saved, 'additional_chat_templates', 'tool_use.jinja'), 'utf8')).toBe(named.tool_use);
  expect(existsSync(join(resaved, 'additional_chat_templates', 'rag.jinja'))).toBe(true);
  expect((await Tokenizer.fromFolder(resaved)).chat_template).toEqual(named);
});

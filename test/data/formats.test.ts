// The layouts that rows come in: what the model reads of each, and what of it is learned.
import { expect, it } from 'vitest';
import type { Row } from '../../src/data/rows';
import { prepareSft, type SftFormat } from '../../src/data/sft';
import { chatRow, tinyTokenizer } from '../tiny';

const chat = tinyTokenizer();
const base = tinyTokenizer({ chat_template: undefined });
const bos = tinyTokenizer({ bos_token: '<|pad|>', add_bos_token: true, chat_template: undefined });
const FORMAT: SftFormat = { max_length: 1024, assistant_only_loss: false, completion_only_loss: null, dataset_text_field: 'text' };

/** The row as text, what is learned of it between ⟦ and ⟧. */
function seen(row: Row, tokenizer = chat, format: Partial<SftFormat> = {}): string {
  const { examples } = prepareSft([row], tokenizer, { ...FORMAT, ...format });
  const { input_ids, trained } = examples[0];
  let text = '';
  for (let from = 0; from < input_ids.length; ) {
    let to = from;
    while (to < input_ids.length && trained[to] === trained[from]) to++;
    const run = tokenizer.decode(input_ids.slice(from, to));
    text += trained[from] ? `⟦${run}⟧` : run;
    from = to;
  }
  return text;
}

const system = { role: 'system', content: 'Be brief.' };
const turn = (role: string, text: string) => `<|im_start|>${role}\n${text}<|im_end|>\n`;
const alpaca = { instruction: 'Add.', input: '1, 2', output: '3' };
const only = { assistant_only_loss: true };
const two = [
  { role: 'user', content: 'a' },
  { role: 'assistant', content: 'b' },
  { role: 'user', content: 'c' },
  { role: 'assistant', content: 'd' },
];
const withTurns = (...fields: object[]) => ({ messages: two.map((message, i) => ({ ...message, ...fields[i] })) });
const learnedTwo = (first: boolean, second: boolean, asked = false) =>
  `<|im_start|>user\n${asked ? '⟦a⟧' : 'a'}<|im_end|>\n<|im_start|>assistant\n${first ? '⟦b<|im_end|>⟧' : 'b<|im_end|>'}\n${turn('user', 'c')}<|im_start|>assistant\n${second ? '⟦d<|im_end|>⟧' : 'd<|im_end|>'}\n`;

const LAYOUTS: [what: string, row: Row, expected: string, tokenizer?: typeof chat, format?: Partial<SftFormat>][] = [
  ['text', { text: 'words' }, '⟦words<|im_end|>⟧'],
  ['text that ends itself', { text: 'words<|im_end|>' }, '⟦words<|im_end|>⟧'],
  ['text under another name', { body: 'words' }, '⟦words<|im_end|>⟧', chat, { dataset_text_field: 'body' }],
  [
    "guanaco's text, whose <s> the tokenizer adds as well",
    { text: '<|pad|>[INST] a [/INST] b ' },
    '⟦<|pad|><|pad|>[INST] a [/INST] b <|im_end|>⟧',
    bos,
  ],
  ['messages, all of them', chatRow('a', 'b'), `⟦${turn('user', 'a')}${turn('assistant', 'b')}⟧`],
  ['messages, answers', chatRow('a', 'b'), `${turn('user', 'a')}<|im_start|>assistant\n⟦b<|im_end|>⟧\n`, chat, only],
  ['prompt and completion', { prompt: 'a', completion: ' b' }, 'a⟦ b<|im_end|>⟧', base],
  ['prompt and completion, all of it', { prompt: 'a', completion: ' b' }, '⟦a b<|im_end|>⟧', base, { completion_only_loss: false }],
  [
    'prompt and completion as messages',
    { prompt: [system, two[0]], completion: [two[1]] },
    `${turn('system', 'Be brief.')}${turn('user', 'a')}<|im_start|>assistant\n⟦b<|im_end|>\n⟧`,
  ],
  [
    'ShareGPT',
    {
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'gpt', value: 'b' },
      ],
      id: 7,
    },
    `${turn('user', 'a')}<|im_start|>assistant\n⟦b<|im_end|>⟧\n`,
    chat,
    only,
  ],
  [
    'ShareGPT with a system column',
    {
      system: 'Be brief.',
      conversations: [
        { from: 'user', value: 'a' },
        { from: 'assistant', value: 'b' },
      ],
    },
    `${turn('system', 'Be brief.')}${turn('user', 'a')}<|im_start|>assistant\n⟦b<|im_end|>⟧\n`,
    chat,
    only,
  ],
  [
    'ShareGPT under the name of messages',
    {
      messages: [
        { from: 'system', value: 'Be brief.' },
        { from: 'human', value: 'a' },
        { from: 'gpt', value: 'b' },
      ],
    },
    `${turn('system', 'Be brief.')}${turn('user', 'a')}<|im_start|>assistant\n⟦b<|im_end|>⟧\n`,
    chat,
    only,
  ],
  ['Alpaca, for a chat template', alpaca, `${turn('user', 'Add.\n1, 2')}<|im_start|>assistant\n⟦3<|im_end|>\n⟧`],
  [
    'Alpaca with history and system',
    { ...alpaca, input: '', system: 'Be brief.', history: [['a', 'b']] },
    `${turn('system', 'Be brief.')}${turn('user', 'a')}${turn('assistant', 'b')}${turn('user', 'Add.')}<|im_start|>assistant\n⟦3<|im_end|>\n⟧`,
  ],
  [
    'Alpaca, in its own words',
    alpaca,
    'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\n⟦3<|im_end|>⟧',
    base,
  ],
  [
    'Alpaca without input',
    { instruction: 'Say 3.', input: null, output: '3' },
    'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nSay 3.\n\n### Response:\n⟦3<|im_end|>⟧',
    base,
  ],
  ["Alpaca's own text column", { ...alpaca, text: 'all of it' }, '⟦all of it<|im_end|>⟧'],
  ['token ids', { input_ids: [97, 98] }, '⟦¢£⟧'.replace('¢£', chat.decode([97, 98]))],
  ['token ids with labels', { input_ids: [65, 66, 67], labels: [-100, 66, 67] }, `${chat.decode([65])}⟦${chat.decode([66, 67])}⟧`],
  ['token ids with a mask', { input_ids: [65, 66], completion_mask: [0, 1] }, `${chat.decode([65])}⟦${chat.decode([66])}⟧`],
  [
    'token ids with two masks',
    { input_ids: [65, 66, 67], completion_mask: [0, 1, 1], assistant_masks: [1, 0, 1] },
    `${chat.decode([65, 66])}⟦${chat.decode([67])}⟧`,
  ],
  [
    'padding by its place: the token that ends a text is learned, the same token behind it is not there',
    { input_ids: [65, 258, 258, 258], attention_mask: [1, 1, 0, 0], labels: [65, 258, 258, 258] },
    `⟦${chat.decode([65])}<|im_end|>⟧`,
  ],
  ['turns with weights', withTurns({}, { weight: 0 }, {}, { weight: 1 }), learnedTwo(false, true)],
  ['turns with train', withTurns({}, { train: true }, {}, { train: false }), learnedTwo(true, false)],
  ['a question that is learned', withTurns({ train: true }, {}, {}, { train: false }), learnedTwo(true, false, true)],
  [
    'turns with weights in ShareGPT',
    {
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'gpt', value: 'b', weight: 0 },
        { from: 'human', value: 'c' },
        { from: 'gpt', value: 'd' },
      ],
    },
    learnedTwo(false, true),
  ],
];
it.each(LAYOUTS)('%s', (_, row, expected, tokenizer, format) => {
  expect(seen(row, tokenizer, format)).toBe(expected);
});

it('turns with weights where the template marks answers itself', () => {
  const marking = tinyTokenizer({
    chat_template:
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}",
  });
  expect(seen(withTurns({}, { weight: 0 }), marking)).toBe(learnedTwo(false, true));
  expect(seen({ messages: two }, marking, only)).toBe(learnedTwo(true, true));
});

it('calls of tools in ShareGPT are calls', () => {
  const tools = tinyTokenizer({
    chat_template:
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{{ m.content or '' }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
  });
  const conversations = [
    { from: 'human', value: '1 + 2?' },
    { from: 'function_call', value: '{"name": "add", "arguments": {"a": 1}}' },
    { from: 'observation', value: '3' },
    { from: 'gpt', value: 'Three.' },
  ];
  expect(seen({ conversations }, tools, only)).toBe(
    '<|im_start|>user\n1 + 2?<|im_end|><|im_start|>assistant\n⟦add({"a": 1})<|im_end|>⟧<|im_start|>tool\n3<|im_end|><|im_start|>assistant\n⟦Three.<|im_end|>⟧',
  );
});

it('a row that is too long keeps its beginning or its end', () => {
  const row = { prompt: 'a'.repeat(20), completion: 'b'.repeat(10) };
  expect(seen(row, base, { max_length: 25 })).toBe(`${'a'.repeat(20)}⟦${'b'.repeat(5)}⟧`);
  expect(seen(row, base, { max_length: 15, truncation_mode: 'keep_end' })).toBe(`aaaa⟦${'b'.repeat(10)}<|im_end|>⟧`);
});

const WRONG: [row: Row, message: RegExp][] = [
  [
    { question: 'a', answer: 'b' },
    /has the fields question, answer.*dataset\.map\(\(\{ question, answer \}\) => \(\{ prompt: question, completion: answer \}\)\)/,
  ],
  [{ input_ids: [1, 'x'] }, /input_ids must be a list of token ids, but has 'x' at 1/],
  [{ input_ids: [] }, /but is empty/],
  [{ input_ids: [1, 2], labels: [1] }, /labels must be a list with a number for each of 2 input_ids, but has 1/],
  [{ input_ids: [1, 2], labels: [-100, 3] }, /labels has 3 at 1, where input_ids has 2/],
  [withTurns({}, { weight: 0.5 }), /message 1 has weight = 0\.5; a turn is learned \(1, true\) or not/],
  [
    {
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'function_call', value: 'add(1)' },
      ],
    },
    /'function_call' must be JSON/,
  ],
  [{ conversations: [{ from: 'human', value: 'a' }, { from: 'gpt' }] }, /messages must be a list of \{role, content\}/],
];
it.each(WRONG)('%j is refused', (row, message) => {
  expect(() => seen(row)).toThrow(message);
});

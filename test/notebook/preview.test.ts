// What an audit of rows finds: a table of faults, each with what is said of it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { on } from '../../src/core/events';
import { AutoModelForCausalLM, Dataset, LoraConfig, preview, SFTConfig, SFTTrainer, train_on_responses_only } from '../../src/index';
import { PREVIEW_MIME, parsePreview } from '../../views/src';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const doubling = tinyTokenizer({ bos_token: '<|pad|>', add_bos_token: true });
const endless = tinyTokenizer({
  chat_template:
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
});
const unlearned = tinyTokenizer({
  chat_template:
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}",
});
const chats = (n: number) => Array.from({ length: n }, (_, i) => chatRow(`Question ${i}?`, `Answer ${i}${'!'.repeat(i)}`));
const only = { assistant_only_loss: true };

const FOUND: [what: string, rows: object[], kind: string, text: RegExp, args?: Record<string, unknown>, more?: object][] = [
  ['nothing wrong', chats(3), 'good', /Every answer ends with a token that ends it, and this is learned/, only],
  ['no row cut', chats(3), 'good', /No row is longer than max_length = 1024/, only],
  ['questions learned', chats(3), 'note', /Every token is learned, questions too.*assistant_only_loss: true/],
  [
    'rows cut',
    [...chats(3), chatRow('q', 'x'.repeat(90))],
    'bad',
    /1 row of 4 is longer than max_length = 64 and cut there: \d+ % of all tokens/,
    { ...only, max_length: 64 },
  ],
  ...(['bfd_split', 'wrapped'] as const).map((packing_strategy): (typeof FOUND)[number] => [
    `rows longer than max_length that go on, packed by ${packing_strategy}`,
    [{ text: 'a' }, { text: 'b'.repeat(200) }],
    'note',
    /^1 row of 2 is longer than max_length = 64 and goes on in further rows: no token is lost/,
    { packing: true, packing_strategy, max_length: 64 },
  ]),
  [
    'an end of text that the options name',
    [{ text: 'a<|pad|>' }],
    'good',
    /Every answer ends with a token that ends it/,
    { eos_token: '<|pad|>' },
    { tokenizer: endless },
  ],
  ['rows dropped', [...chats(3), { messages: [{ role: 'user', content: 'q' }] }], 'bad', /1 row of 4 \(3\) has nothing to learn/, only],
  ['no end', chats(3), 'bad', /3 rows of 3 have no token that ends the answer \(<\|im_end\|>\)/, only, { tokenizer: endless }],
  [
    'an end that is not learned',
    chats(3),
    'bad',
    /In 3 rows of 3 the token that ends the answer is there and is not learned/,
    only,
    { tokenizer: unlearned },
  ],
  ['beginnings doubled', [{ text: '<|pad|>[INST] a [/INST] b' }], 'bad', /1 row begin with <\|pad\|> twice/, {}, { tokenizer: doubling }],
  ['rows twice', [...chats(3), chats(1)[0]], 'note', /1 row of 4 is there more than once/, only],
  [
    'rows to evaluate with in training',
    chats(4),
    'bad',
    /2 rows of 2 to evaluate with are trained on too: eval_loss measures nothing but memory/,
    only,
    { eval_dataset: Dataset.from_list(chats(2)) },
  ],
  [
    'others to evaluate with',
    chats(2),
    'good',
    /No row to evaluate with is trained on/,
    only,
    { eval_dataset: Dataset.from_list([chatRow('new', 'new')]) },
  ],
];
it.each(FOUND)('%s', async (_, rows, kind, text, args = {}, more = {}) => {
  const report = await preview(Dataset.from_list(rows), { tokenizer, args: new SFTConfig(args) as SFTConfig<string>, ...more });
  const found = report.findings.find((one) => text.test(one.text));
  expect(found?.kind, JSON.stringify(report.findings)).toBe(kind);
});

it('rows, figures and lengths, for readers of all kinds', async () => {
  const rows = Dataset.from_list(chats(8));
  const report = await preview(rows, { tokenizer, args: new SFTConfig({ ...only, packing: true, max_length: 256 }) });
  expect(report.rows.map(({ title }) => title)).toEqual(['Row 0: the shortest answer', 'Row 1', 'Row 7: the longest answer']);
  const [{ runs, learned, tokens }] = report.rows;
  expect(runs.filter((run) => run.learned).map(({ text }) => text)).toEqual(['Answer 0<|im_end|>']);
  expect(runs.map(({ text }) => text).join('')).toBe(tokenizer.renderChat(chats(1)[0].messages));
  expect([learned, tokens]).toEqual([9, tokenizer.apply_chat_template(chats(1)[0].messages).length]);
  const figures = Object.fromEntries(report.figures);
  expect(figures).toMatchObject({
    rows: '8',
    'length of answers': '9 to 16',
    'packed into': expect.stringMatching(/^2 rows, \d+ % full$/),
  });
  for (const name of ['rows', 'answers'] as const) expect(report.lengths.reduce((n, bin) => n + bin[name], 0)).toBe(8);
  const bundle = JSON.parse(JSON.stringify(report.bundle()));
  expect(Object.keys(bundle)).toEqual([PREVIEW_MIME, 'text/html', 'text/plain']);
  expect(parsePreview(bundle[PREVIEW_MIME])).toMatchObject({ name: 'the training set', rows: report.rows });
  expect(bundle['text/plain']).toContain('⟦Answer 0<|im_end|>⟧');
  expect(bundle['text/html']).toMatch(/<mark[^>]*>Answer 0&lt;\|im_end\|&gt;<\/mark>/);
  // A stream is looked at without being read to its end.
  const endless = Dataset.from_list(chats(2)).to_iterable_dataset().repeat();
  expect((await preview(endless, { tokenizer })).figures[0]).toEqual(['rows', '1000']);
  await expect(preview(rows, {})).rejects.toThrow(/preview needs the model's tokenizer/);
});

it('options that a trainer gives its tokenizer are those of the preview too, and the tokenizer stays as it was', async () => {
  const path = join(scratch('template'), 'chat.jinja');
  writeFileSync(path, '{% for m in messages %}{{ m.role }}={{ m.content }}{{ eos_token }}{% endfor %}');
  const args = new SFTConfig({ eos_token: '<|pad|>', chat_template_path: path });
  const before = [tokenizer.eos_token, tokenizer.chat_template];
  const textOf = ({ runs }: { runs: { text: string }[] }) => runs.map(({ text }) => text).join('');
  const { rows } = await preview(Dataset.from_list([...chats(1), { text: 'plain' }]), { tokenizer, args });
  expect(rows.map(textOf)).toEqual(['user=Question 0?<|pad|>assistant=Answer 0<|pad|>', 'plain<|pad|>']);
  expect([tokenizer.eos_token, tokenizer.chat_template]).toEqual(before);
  const wrong = [{ eos_token: '<|none|>' }, { chat_template_path: 'owner/chat' }, { eos_token: '<|pad|>', max_length: 2 }];
  for (const options of wrong)
    await expect(
      preview(Dataset.from_list(chats(2).slice(0, 1)), { tokenizer, args: new SFTConfig({ ...options, assistant_only_loss: true }) }),
    ).rejects.toThrow(/vocabulary has no such token|clone_chat_template|Every label is masked/);
  expect([tokenizer.eos_token, tokenizer.chat_template]).toEqual(before);
});

it('a trainer tells it before it trains, and again when less is learned', async () => {
  const told: { findings: { text: string }[]; rows: { runs: { text: string; learned: boolean }[] }[] }[] = [];
  const off = on('preview', ({ audit }) => told.push(audit as (typeof told)[number]));
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
  const text = Dataset.from_list(chats(3)).map(({ messages }) => ({ text: tokenizer.renderChat(messages) }), {
    remove_columns: 'messages',
  });
  const trainer = new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: text,
    eval_dataset: text.take(1),
    peft_config: new LoraConfig({ r: 2 }),
    args: new SFTConfig({ output_dir: scratch('preview'), eval_strategy: 'no' }),
  });
  expect(told).toHaveLength(1);
  expect(told[0].findings.some((one) => /trained on too/.test(one.text))).toBe(true);
  train_on_responses_only(trainer, { instruction_part: '<|im_start|>user\n', response_part: '<|im_start|>assistant\n' });
  off();
  expect(told).toHaveLength(2);
  expect(told[1].rows[0].runs.filter((run) => run.learned).map((run) => run.text)).toEqual(['Answer 0<|im_end|>\n<|im_end|>']);
});

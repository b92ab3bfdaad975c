import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Member } from '../../kernel/src/help';
import { Language } from '../../kernel/src/language';
import * as tunebook from '../../src';
import { scratch, tinyLlama } from '../tiny';

const root = resolve(__dirname, '../..');
/** Names of the public functions and classes. */
const EXPORTS = Object.keys(tunebook);
let language: Language;

beforeAll(async () => {
  language = new Language(scratch('help'), root);
  language.start();
  const { complaints, keep } = await language.check(
    1,
    `import { ${EXPORTS.join(', ')} } from 'tunebook';
const model = await AutoModelForCausalLM.from_pretrained('x');
/** Says a word. Default: not so. */
function say(word: string, options: { /** How loud. Default: 1. */ volume?: number } = {}) {}`,
  );
  expect(complaints).toEqual([]);
  keep();
});
afterAll(() => language.close());

/** Code with a cursor in it. */
const about = (code: string) => language.inspect(code.replace('|', ''), code.indexOf('|'));

it.each<[string, RegExp[]]>([
  ['new SFTCon|fig({})', [/Options of supervised fine-tuning/, /- `learning_rate`: `number` = `2e-5` · The peak/, /`packing`.*= `false`/]],
  ['new SFTConfig({ | })', [/Options of supervised/, /`max_steps`: `number` = `-1` · /]],
  ['new SFTConfig({ learning_rate: 1e-4, | ', [/Options of supervised/, /`lr_scheduler_type`: .*"cosine_with_restarts"/]],
  ['new SFTConfig({ warmup_|steps: 3 })', [/warmup_steps\?: number/, /below 1 a share of all steps. Default: 0\./]],
  ["new SFTConfig({ lr_scheduler_type: 'co|' })", [/lr_scheduler_type/, /The curve of the learning rate/]],
  ["new LoraConfig({ target_modules: ['q_proj', '|'] })", [/target_modules\?: string \| string\[\]/, /Ends of module names/]],
  [
    'const c = new LoraConfig|',
    [/^```typescript\nconstructor[^`]*```\n\nLow-rank adaptation/, /- `r`: `number` = `8` · Rank of the update/],
  ],
  ["AutoModelForCausalLM.from_pre|trained('x')", [/Loads a model/, /`dtype`.*= `'auto'`/]],
  ['await generate(model, [1], {|', [/Continues a row of token ids/, /`temperature`: `number` = `1` · /]],
  ['model.gen|erate', [/Continues a row of token ids/, /`top_k`/]],
  ['mod|el', [/A decoder that predicts the next token/, /\*\*Methods\*\*[\s\S]*`generate` · Continues/]],
  ["say('a, (b', |", [/function say/, /Says a word/, /`volume`: `number` = `1` · How loud\./]],
  ['function own(o: { /** Deep. */ depth?: number }) {}\now|n', [/function own/, /`depth`: `number` · Deep\./]],
])('says what stands at %s', async (code, expected) => {
  const text = await about(code);
  for (const pattern of expected) expect(text).toMatch(pattern);
});

it.each(['|', '1 + |', 'unknown|', '// SFTConfig |'])('says nothing of %s', async (code) => expect(await about(code)).toBeUndefined());

/** A docstring of a sentence at least. */
const isSentence = (text: string) => /^\S[\s\S]{11,}[.:)`]$/.test(text.trim().split('\n\n')[0]);

it('has a docstring of a sentence for every public name', async () => {
  const without: string[] = [];
  for (const name of EXPORTS) {
    const [, code, text] = (await language.inspect(name, 1))?.match(/```typescript\n([\s\S]*?)\n```\s*([\s\S]*?)(\n\n\*\*|$)/) ?? [];
    if (!code || !isSentence(text)) without.push(`${name}: ${text}`);
  }
  expect(without).toEqual([]);
});

it('has a docstring for every method of public classes', async () => {
  const classes = EXPORTS.filter((name) => /^[A-Z]/.test(name));
  const without: string[] = [];
  for (const name of classes)
    for (const method of await language.methods(name)) if (!isSentence(method.text)) without.push(`${name}.${method.name}`);
  expect(without).toEqual([]);
});

/** Whose options have defaults that can be looked at. */
const CONFIGS: Record<string, () => object> = {
  ...{ SFTConfig: () => new tunebook.SFTConfig(), TrainingArguments: () => new tunebook.TrainingArguments() },
  ...{ LoraConfig: () => new tunebook.LoraConfig(), IA3Config: () => new tunebook.IA3Config() },
  ...{ LNTuningConfig: () => new tunebook.LNTuningConfig() },
  PromptTuningConfig: () => ({ ...new tunebook.PromptTuningConfig({ num_virtual_tokens: 1 }), num_virtual_tokens: 0 }),
  BitsAndBytesConfig: () => new tunebook.BitsAndBytesConfig(),
};
const OTHERS = [
  'SFTTrainer',
  'Trainer',
  'inspect',
  'generate',
  'AutoModelForCausalLM.from_pretrained',
  'AutoModelForSequenceClassification.from_pretrained',
  'GenerationConfig',
];

it.each([...Object.keys(CONFIGS), ...OTHERS])('has a docstring and the default of every option of %s', async (name) => {
  const options = await language.options(name, /^[A-Z]\w+$/.test(name));
  expect(options.length).toBeGreaterThan(2);
  const defaults = CONFIGS[name]?.() as Record<string, unknown> | undefined;
  const stated = ({ fallback }: Member) => (fallback === undefined ? undefined : new Function(`return (${fallback})`)());
  const wrong = options.filter((option) => {
    const right = defaults ? JSON.stringify(stated(option)) === JSON.stringify(defaults[option.name]) : option.fallback !== undefined;
    return !isSentence(option.text) || !right;
  });
  expect(wrong.map(({ name, text }) => `${name}: ${text}`)).toEqual([]);
  if (defaults) {
    const known = options.map((option) => option.name);
    expect(Object.keys(defaults).filter((option) => option !== 'peft_type' && !known.includes(option))).toEqual([]);
  }
});

it('offers values in strings, and answers ?x, x? and help(x), in a kernel', async () => {
  const complete = (code: string) => ({ request: 'complete', args: [code.replace('|', ''), code.indexOf('|')] });
  const cases: [string, string[]][] = [
    ["new SFTConfig({ optim: '|' })", ['adafactor', 'adamw_8bit', 'adamw_torch_fused']],
    ["new SFTConfig({ lr_scheduler_type: 'cos|' })", ['cosine', 'cosine_with_restarts']],
    ["new SFTConfig({ report_to: ['|'] })", ['tensorboard']],
    ["AutoModelForCausalLM.from_pretrained('x', { dtype: '|' })", ['auto', 'bfloat16', 'float32']],
    ["AutoTokenizer.from_pretrained('Hug|')", ['HuggingFaceTB/SmolLM2-135M-Instruct']],
    ["load_dataset('fine|')", ['fine-tuning-qa']],
    ["data['|']", ['question', 'answer']],
    ["splits['|']", ['train']],
    ["new SFTConfig({ dataset_text_field: '|' })", ['question', 'answer']],
    ["new LoraConfig({ target_modules: ['q_proj', '|'] })", ['all-linear', 'q_proj', 'down_proj', 'lm_head']],
    ["peft.set_adapter('|')", ['default']],
    ["new SFTConfig({ output_dir: 'sub|' })", ['sub/']],
    ["load_dataset('sub/r|')", ['sub/rows.jsonl']],
  ];
  const folder = scratch('help-kernel');
  const setup = `import { mkdirSync, writeFileSync } from 'node:fs';
import { SFTConfig, LoraConfig, Dataset, AutoModelForCausalLM, AutoTokenizer, get_peft_model, load_dataset } from 'tunebook';
mkdirSync('sub'); writeFileSync('sub/rows.jsonl', '');
const data = Dataset.from_list([{ question: 'a', answer: 'b' }]);
const splits = { train: data };
const model = await AutoModelForCausalLM.from_pretrained(${JSON.stringify(await tinyLlama())}, { progress: false });
const peft = get_peft_model(model, new LoraConfig());`;
  const asked = ['?LoraConfig', 'LoraConfig?', 'help(LoraConfig)', 'const one = 1; help(LoraConfig);\none', 'nothing?'];
  const steps = [setup, ...asked].map((code) => ({ code }));
  const result = spawnSync(join(root, '.venv/bin/python'), [join(__dirname, 'client.py'), folder], {
    input: JSON.stringify([...steps, ...cases.map(([code]) => complete(code))]),
    encoding: 'utf8',
    env: { ...process.env, JUPYTER_PREFER_ENV_PATH: '1', VIRTUAL_ENV: join(root, '.venv') },
  });
  expect(result.status, result.stderr).toBe(0);
  const [first, before, behind, called, among, nothing, ...completed] = JSON.parse(result.stdout.trim().split('\n').at(-1) as string).slice(
    1,
  );
  expect(first.status).toBe('ok');
  for (const { messages } of [before, behind, called]) {
    expect(messages[0].type).toBe('execute_result');
    expect(messages[0].data['text/markdown']).toMatch(/Low-rank adaptation[\s\S]*- `r`: `number` = `8`/);
  }
  expect(among.messages.map((m: { type: string }) => m.type)).toEqual(['display_data', 'execute_result']);
  expect(among.messages[0].data['text/plain']).toMatch(/Low-rank adaptation/);
  expect(nothing.messages[0].evalue).toMatch(/nothing known of 'nothing'/);
  for (const [i, [code, values]] of cases.entries()) {
    const { matches, cursor_start, cursor_end } = completed[i];
    expect(matches, code).toEqual(expect.arrayContaining(values));
    const quote = Math.max(...["'", '"'].map((mark) => code.lastIndexOf(mark, code.indexOf('|'))));
    expect([cursor_start, cursor_end], code).toEqual([quote + 1, code.indexOf('|')]);
  }
});

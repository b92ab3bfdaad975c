// What the type checker says of rows and of trainers: cells with these faults are not run.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { scratch } from '../tiny';

const root = resolve(__dirname, '../..');
const HEAD = `
import { Dataset, IterableDataset, interleave_datasets, load_dataset, SFTConfig, SFTTrainer, AutoModelForCausalLM, AutoTokenizer } from '${root}/src/index';
const base = { model: await AutoModelForCausalLM.from_pretrained('x'), processing_class: await AutoTokenizer.from_pretrained('x') };
const rows = Dataset.from_list([{ question: 'a', answer: 'b', label: 1 }]);
const typed = await load_dataset<{ text: string }>('rows.jsonl', { split: 'train' });
`;

/** A line, and what is said of it; null: nothing. */
const LINES: [line: string, said: RegExp | null][] = [
  ['new SFTTrainer({ ...base, train_dataset: rows });', /SFTTrainer needs a column 'messages', or 'prompt' and 'completion', or 'text'/],
  ['new SFTTrainer({ ...base, train_dataset: rows.to_iterable_dataset() });', /SFTTrainer needs a column 'messages'/],
  ["new SFTTrainer({ ...base, train_dataset: rows, args: new SFTConfig({ dataset_text_field: 'anwser' }) });", /or 'anwser'/],
  ["new SFTTrainer({ ...base, train_dataset: rows, args: new SFTConfig({ dataset_text_field: 'answer' }) });", null],
  ['new SFTTrainer({ ...base, train_dataset: rows, formatting_func: (row) => row.question + row.answer });', null],
  [
    'new SFTTrainer({ ...base, train_dataset: rows, formatting_func: (row) => row.qestion });',
    /'qestion' does not exist.*Did you mean 'question'/s,
  ],
  ['new SFTTrainer({ ...base, train_dataset: rows.map(({ question, answer }) => ({ prompt: question, completion: answer })) });', null],
  ['new SFTTrainer({ ...base, train_dataset: rows.map(({ question }) => ({ prompt: question })) });', /SFTTrainer needs a column/],
  ["new SFTTrainer({ ...base, train_dataset: rows.rename_column('answer', 'text') });", null],
  ["new SFTTrainer({ ...base, train_dataset: typed, eval_dataset: typed.remove_columns('text') });", /SFTTrainer needs a column/],
  ["new SFTTrainer({ ...base, train_dataset: await load_dataset('rows.jsonl', { split: 'train' }) });", null],
  ['new SFTTrainer({ ...base, train_dataset: typed });', null],
  ["rows.sort('anwser');", /'"anwser"' is not assignable/],
  ["rows.train_test_split({ stratify_by_column: 'lable' });", /'"lable"' is not assignable|Did you mean '"label"'/],
  ['rows.filter((row) => row.lable === 1);', /'lable' does not exist.*Did you mean 'label'/s],
  ['rows.map((batch) => ({ question: batch.question.map((q) => q.trim()) }), { batched: true });', null],
  ["rows.map(() => ({ text: '' }), { remove_columns: 'quesion' });", /quesion/],
  ['rows[0].question.trim();', null],
  ['interleave_datasets([typed, typed])[0].text.trim();', null],
];
let told: string[];

beforeAll(() => {
  const folder = scratch('types');
  writeFileSync(join(folder, 'cells.mts'), `${HEAD}${LINES.map(([line]) => line).join('\n')}\n`);
  const options = {
    noEmit: true,
    strict: true,
    target: 'es2023',
    lib: ['es2024'],
    module: 'preserve',
    moduleResolution: 'bundler',
    skipLibCheck: true,
  };
  const types = { types: ['node'], typeRoots: [join(root, 'node_modules/@types')] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...options, ...types }, files: ['cells.mts'] }));
  let output = '';
  try {
    output = execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder, '--pretty', 'false'], {
      encoding: 'utf8',
    });
  } catch (error) {
    output = (error as { stdout: string }).stdout;
  }
  const before = HEAD.split('\n').length - 1;
  told = LINES.map(() => '');
  let at = -1;
  for (const line of output.split('\n')) {
    const [, file, number] = line.match(/^(\S+)\((\d+),\d+\): error/) ?? [];
    if (file) at = file.endsWith('cells.mts') ? Number(number) - before - 1 : -1;
    if (told[at] !== undefined) told[at] += `${line}\n`;
  }
}, 60_000);

it.each(LINES.map(([line, said], i) => ({ line, said, i })))('$line', ({ said, i }) => {
  if (said) expect(told[i]).toMatch(said);
  else expect(told[i]).toBe('');
});

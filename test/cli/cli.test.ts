import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { COMMANDS } from '../../src/cli/commands';
import { main } from '../../src/cli/main';
import { declared } from '../../src/cli/options';
import { loadWriter } from '../../src/cli/writer';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  Dataset,
  get_peft_model,
  IA3Config,
  LoraConfig,
  load_dataset,
  SFTConfig,
  SFTTrainer,
  train_on_responses_only,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { PeftModel } from '../../src/peft/model';
import { RUN_ALIASES, RUN_DEFAULTS } from '../../src/trainers/run_options';
import { chatRow, scratch, TINY, tinyLlama, tinyTokenizer } from '../tiny';

const folder = scratch('cli');
const at = (name: string) => join(folder, name);

interface Ended {
  code: number | null;
  signal: string | null;
  out: string;
  err: string;
}

/** The command line as it is installed; `during` may do something to it while it runs. */
function tunebook(args: string[], { input = '', during }: { input?: string; during?: (child: ChildProcess, said: string) => void } = {}) {
  const child = spawn(process.execPath, [resolve('scripts/cli.cjs'), ...args], {
    cwd: folder,
    env: { ...process.env, TUNEBOOK_THREADS: '1' },
  });
  const ended = { out: '', err: '' };
  child.stdin.end(input);
  for (const [name, stream] of [
    ['out', child.stdout],
    ['err', child.stderr],
  ] as const)
    stream.on('data', (data) => {
      ended[name] += data;
      during?.(child, ended.out + ended.err);
    });
  return new Promise<Ended>((done) => child.on('close', (code, signal) => done({ code, signal, ...ended })));
}

beforeAll(async () => {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(3), { progress: false });
  await model.save_pretrained(at('model'));
  await tinyTokenizer().save_pretrained(at('model'));
  await model.save_pretrained(at('bare'));
  await tinyTokenizer({ chat_template: undefined }).save_pretrained(at('bare'));
  const rows = Array.from({ length: 8 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`));
  writeFileSync(at('rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  const keys = { model_name_or_path: 'model', dataset_name: 'rows.jsonl', output_dir: 'out', use_peft: true, lora_r: 2 };
  const more = [
    'assistant_only_loss: true',
    'max_steps: 3',
    'learning_rate: 1e-2',
    'lora_target_modules: [q_proj]',
    'env: { TUNEBOOK_SAID: 7 }',
  ];
  writeFileSync(
    at('run.yaml'),
    `${Object.entries(keys)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n')}\n${more.join('\n')}\n`,
  );
});

describe('commands', () => {
  it('each has a file, a line of help, and help of its own', async () => {
    const files = readdirSync(resolve('src/cli/commands')).map((name) => name.replace('.ts', ''));
    expect(Object.keys(COMMANDS).sort()).toEqual(files.sort());
    const { out, code } = await tunebook(['--help']);
    expect(code).toBe(0);
    for (const [name, { about }] of Object.entries(COMMANDS)) expect(out.replaceAll(/\s+/g, ' ')).toContain(`${name} ${about}`);
    const helps: Record<string, string> = {};
    for (const name of Object.keys(COMMANDS)) {
      const written = vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
      expect(await main([name, '--help'])).toBe(0);
      helps[name] = written.mock.calls.join('').replaceAll(/\s+/g, ' ');
      written.mockRestore();
      expect(helps[name]).toContain(`Usage: tunebook ${name}`);
    }
    const { sft } = helps;
    for (const name of [...Object.keys(RUN_DEFAULTS), ...Object.keys(new SFTConfig())]) expect(sft).toContain(`--${name} `);
    expect(sft).toContain('The peak of the learning rate');
  });

  it.each([
    [['sfx'], 2, 'Did you mean sft?'],
    [['sft', '--lerning_rate', '1'], 2, 'Did you mean --learning_rate?'],
    [['generate'], 2, "missing required argument 'model'"],
    [['sft', '--max_steps', '3'], 1, 'needs model_name_or_path'],
    [['sft', '--config', 'missing.yaml'], 1, 'missing.yaml cannot be read'],
    [['sft', '--config', 'run.yaml', '--max_steps', 'three'], 1, "max_steps must be a whole number of at least -1, but is 'three'"],
    [['sft', '--config', 'run.yaml', '--dataset_streaming'], 1, 'it would stream the rows'],
    [['estimate', 'model', '--quantization', 'nf5'], 1, 'nf4, nf4-double'],
    [['merge', 'model', 'merged'], 1, 'no folder of a saved adapter'],
    [['sft', '--config', 'run.yaml', '--test_split_size', '0.1'], 1, 'test_split_size = 0.1 has no effect beside dataset_name'],
    [
      ['sft', '--config', 'run.yaml', '--bnb_4bit_quant_type', 'fp4'],
      1,
      "bnb_4bit_quant_type = 'fp4' has no effect without load_in_4bit: true",
    ],
    [['sft', '--config', 'run.yaml', '--no_use_peft'], 1, 'lora_r = 2 has no effect without use_peft: true; all weights would be trained'],
    [['generate', 'bare', 'hi', '--plain', '--system', 'Be brief.'], 1, '--system has no effect with --plain'],
    [['generate', 'bare', 'hi', '--system', 'Be brief.'], 1, 'bare has no chat template: put what it says before the text itself'],
  ] as const)('%j ends with %d: %s', async (args, code, text) => {
    const said: string[] = [];
    const spies = [
      vi.spyOn(console, 'error').mockImplementation((line) => said.push(line)),
      vi.spyOn(process.stderr, 'write').mockImplementation((line) => Boolean(said.push(String(line)))),
    ];
    const there = args.map((arg) => (existsSync(at(arg)) ? at(arg) : arg));
    expect(await main(there).finally(() => spies.map((spy) => spy.mockRestore()))).toBe(code);
    expect(said.join(' ').replaceAll(/\s+/g, ' ')).toContain(text);
  });

  it('a key of a file that nobody has is told by the nearest', async () => {
    writeFileSync(at('wrong.yaml'), 'model_name_or_path: model\nlora_alpa: 3\n');
    await expect(SFTTrainer.fromYaml(at('wrong.yaml'))).rejects.toThrow('sft has no option lora_alpa (value 3). Did you mean lora_alpha?');
  });
});

it.each([
  [{ dataset_name: 'rows' }, /dataset_name = 'rows' has no effect beside datasets/],
  [{ dataset_config: 'chat' }, /dataset_config = 'chat' has no effect beside datasets/],
  [{ dataset_train_split: 'all' }, /dataset_train_split = 'all' has no effect beside datasets/],
  [{ dataset_test_split: 'validation' }, /dataset_test_split = 'validation' has no effect beside datasets/],
  [{ use_peft: true, peft_config: { peft_type: 'IA3' } }, /use_peft = true has no effect beside peft_config/],
  [{ lora_alpha: 4, peft_config: { peft_type: 'IA3' } }, /lora_alpha = 4 has no effect beside peft_config/],
  [{ use_bnb_nested_quant: true, load_in_8bit: true }, /use_bnb_nested_quant = true has no effect without load_in_4bit/],
])('a file with %j is told what has no effect', async (config, message) => {
  const run = { model_name_or_path: at('model'), datasets: [{ path: at('rows.jsonl') }] };
  await expect(SFTTrainer.fromConfig({ ...run, ...config })).rejects.toThrow(message);
});

it('the tokenizer is the one that was saved beside the adapter, and the model has a row for each of its tokens', async () => {
  const tokenizer = tinyTokenizer({ chat_template: '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}' });
  tokenizer.add_tokens(Array.from({ length: TINY.vocab_size + 2 - tokenizer.length }, (_, i) => `<|${i}|>`));
  const model = await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false });
  await model.resize_token_embeddings(tokenizer.length);
  const args = new SFTConfig({ output_dir: at('grown'), max_steps: 1, disable_tqdm: true });
  const rows = Dataset.from_list([chatRow('a', 'b')]);
  const peft_config = new LoraConfig({ r: 2, target_modules: ['q_proj'] });
  const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: rows, peft_config, args });
  await trainer.train();
  await trainer.save_model();
  expect(trainer.toYaml()).toContain('# The model has other rows for tokens than its files');
  const { pipe } = await loadWriter(at('grown'), {});
  expect([pipe.tokenizer.length, pipe.tokenizer.chat_template]).toEqual([TINY.vocab_size + 2, tokenizer.chat_template]);
  expect((pipe.model as PeftModel<CausalLM>).base_model.config.vocab_size).toBe(TINY.vocab_size + 2);
  expect((await pipe([{ role: 'user', content: 'a' }], { max_new_tokens: 2 }))[0].generated_text).toHaveLength(2);
  expect(await main(['merge', at('grown'), at('grown-merged')])).toBe(0);
  const merged = await AutoTokenizer.from_pretrained(at('grown-merged'));
  expect([merged.length, merged.chat_template]).toEqual([tokenizer.length, tokenizer.chat_template]);
  // One without is its base model's.
  for (const name of readdirSync(at('grown'))) if (/^(tokenizer|chat_template)/.test(name)) rmSync(join(at('grown'), name));
  await expect(loadWriter(at('grown'), {})).rejects.toThrow(/resize_token_embeddings\(266\)/);
  await get_peft_model(await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false }), peft_config).save_pretrained(
    at('plain'),
  );
  expect((await loadWriter(at('plain'), {})).pipe.tokenizer.chat_template).toBe(tinyTokenizer().chat_template);
});

it('keys are TRL’s, with its defaults, or are refused by name', () => {
  const about = declared('trainers/run_options', 'RunOptions');
  expect(about.map(({ name }) => name)).toEqual(Object.keys(RUN_DEFAULTS));
  for (const { name, about: text } of about) {
    const value = RUN_DEFAULTS[name as keyof typeof RUN_DEFAULTS];
    expect(text, name).toContain(`Default: ${typeof value === 'string' ? `'${value}'` : JSON.stringify(value)}.`);
  }
  expect(RUN_ALIASES.dataset_streaming.would).toBeTruthy();
});

describe('a run', () => {
  it('trains as a notebook does, saves the same files, and generate, inspect and merge take what it made', async () => {
    const { out, err, code } = await tunebook(['sft', '--config', 'run.yaml', '--logging-steps', '1', '--no_packing']);
    expect(code, err).toBe(0);
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ step }) => step).slice(0, 3)).toEqual([1, 2, 3]);
    expect(lines.at(-1)).toHaveProperty('train_loss');
    const files = readdirSync(at('out'));
    expect(files).toEqual(expect.arrayContaining(['adapter_model.safetensors', 'adapter_config.json', 'checkpoint-3']));

    const trainer = await inNotebook('here');
    const losses = trainer.state.log_history.flatMap(({ loss }) => loss ?? []);
    expect(lines.flatMap(({ loss }) => loss ?? [])).toEqual(losses);
    expect(readFileSync(at('out/adapter_model.safetensors')).equals(readFileSync(at('here/adapter_model.safetensors')))).toBe(true);

    const [said, seen, merged, estimated] = [
      await tunebook(['generate', 'out', '--max_new_tokens', '3'], { input: 'What is 1 plus 1?' }),
      await tunebook(['inspect', 'out', '--json', '--png', 'out.png']),
      await tunebook(['merge', 'out', 'merged', '--dtype', 'float32']),
      await tunebook(['estimate', 'model', '--lora', '2', '--length', '32']),
    ];
    expect(said.code, said.err).toBe(0);
    expect(said.out.trim()).not.toBe('');
    expect(JSON.parse(seen.out).modules).toHaveLength(2);
    expect(readFileSync(at('out.png')).subarray(1, 4).toString()).toBe('PNG');
    expect(merged.code, merged.err).toBe(0);
    expect(existsSync(at('merged/model.safetensors'))).toBe(true);
    expect(estimated.out).toContain('It fits');
  });

  it('Ctrl+C saves after the step that it is in, and a second one ends at once', async () => {
    const stop = (times: number) => {
      let sent = 0;
      const send = (child: ChildProcess) => setTimeout(() => child.kill('SIGINT'), 50); // in the midst of a step
      return (child: ChildProcess, said: string) => {
        for (; sent < times && said.includes(sent ? 'Interrupt received' : '"step":1'); sent++) send(child);
      };
    };
    const long = ['sft', '--config', 'run.yaml', '--max_steps', '100000', '--logging_steps', '1'];
    const once = await tunebook([...long, '--output_dir', 'once'], { during: stop(1) });
    expect([once.code, once.signal], once.err).toEqual([130, null]);
    expect(once.err).toMatch(/Saved once\/checkpoint-\d+/);
    const saved = readdirSync(at('once')).find((name) => name.startsWith('checkpoint-')) as string;
    const again = await tunebook([
      ...['sft', '--config', 'run.yaml', '--output_dir', 'once', '--resume_from_checkpoint', 'true', '--logging_steps', '1'],
      ...['--max_steps', String(Number(saved.split('-')[1]) + 1)],
    ]);
    expect(again.code, again.err).toBe(0);
    expect(JSON.parse(again.out.split('\n')[0]).step).toBe(Number(saved.split('-')[1]) + 1);

    // A second one does not wait for the step, here one of many micro-batches that takes some seconds, and saves nothing.
    const rows = Array.from({ length: 50 }, (_, i) => JSON.stringify(chatRow(`${i}? `.repeat(40), 'yes '.repeat(50))));
    writeFileSync(at('long.jsonl'), rows.join('\n'));
    const slow = ['--dataset_name', 'long.jsonl', '--per_device_train_batch_size', '50', '--memory_limit', '1'];
    const twice = await tunebook([...long, ...slow, '--output_dir', 'twice'], { during: stop(2) });
    expect(twice.code, twice.err).toBe(130);
    expect(readdirSync(at('twice')).filter((name) => name.startsWith('checkpoint-'))).toEqual([]);
  });
});

async function inNotebook(output_dir: string): Promise<SFTTrainer> {
  const trainer = new SFTTrainer({
    model: await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false }),
    processing_class: await AutoTokenizer.from_pretrained(at('model')),
    train_dataset: await load_dataset(at('rows.jsonl'), { split: 'train' }),
    peft_config: new LoraConfig({ r: 2, lora_alpha: 32, lora_dropout: 0.05, target_modules: ['q_proj'] }),
    args: new SFTConfig({
      output_dir: at(output_dir),
      assistant_only_loss: true,
      max_steps: 3,
      learning_rate: 1e-2,
      logging_steps: 1,
      disable_tqdm: true,
    }),
  });
  await trainer.train();
  await trainer.save_model();
  return trainer;
}

describe('toYaml', () => {
  it('says what a run is made of, and fromYaml makes the same run of it', async () => {
    const trainer = await inNotebook('there');
    const yaml = trainer.toYaml();
    writeFileSync(at('again.yaml'), yaml);
    const again = await SFTTrainer.fromYaml(at('again.yaml'));
    expect(again.toYaml()).toBe(yaml);
    expect(await SFTTrainer.fromYaml(yaml).then((one) => one.args)).toEqual(trainer.args);
    await again.train();
    expect(again.state.log_history.map(({ loss }) => loss)).toEqual(trainer.state.log_history.map(({ loss }) => loss));
    expect(yaml).toContain('lora_target_modules:\n  - q_proj\n');
    expect(yaml).not.toContain('lora_alpha');
  });

  it('rows of files come back as the files were named, a model as it was asked for', async () => {
    writeFileSync(at('rows.csv'), 'text;n\na;1\nb;2\nc;3\n');
    const rows = await load_dataset('csv', { data_files: { train: at('rows.csv') }, split: 'train[:2]', delimiter: ';' });
    const model = await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false, dtype: 'bfloat16', revision: 'v2' });
    const of = (train_dataset: Dataset, more = {}) =>
      new SFTTrainer({
        model,
        processing_class: tinyTokenizer(),
        train_dataset,
        peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
        args: new SFTConfig({ output_dir: at('csv'), eval_strategy: 'no' }),
        ...more,
      });
    const yaml = of(rows).toYaml();
    expect(yaml).toContain(`datasets:\n  - path: csv\n    data_files:\n      train: ${at('rows.csv')}\n    split: train[:2]\n`);
    expect(yaml).toMatch(/^# How the rows are read no key says \(delimiter = ';'\): save them with to_json/);
    expect(yaml).toContain('model_revision: v2\ndtype: bfloat16\n');
    expect(yaml).not.toContain('dataset_name:');
    expect(inspect(await SFTTrainer.fromYaml(yaml))).toContain('train_rows: 2');
    const chat = await load_dataset('json', { data_files: at('rows.jsonl'), split: 'train' });
    const evaluated = of(chat, { eval_dataset: chat, args: new SFTConfig({ output_dir: at('csv'), eval_strategy: 'epoch' }) }).toYaml();
    expect(evaluated).toMatch(/^# Of datasets no key says which rows are evaluated on, as eval_strategy: epoch wants: test_split_size/);
    const stream = await load_dataset(at('rows.jsonl'), { split: 'train', streaming: true });
    const streamed = of(stream as never, { args: new SFTConfig({ output_dir: at('csv'), max_steps: 1 }) }).toYaml();
    expect(streamed).toMatch(/^# The rows came from a stream/);
    expect(streamed).toContain(`dataset_name: ${at('rows.jsonl')}\n`);
  });

  it('says what of a run is code; a template is named by where it came from', async () => {
    const model = await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false });
    const trainer = new SFTTrainer({
      model,
      processing_class: tinyTokenizer(),
      train_dataset: await load_dataset(at('rows.jsonl'), { split: 'train' }),
      peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
      args: new SFTConfig({ output_dir: at('code') }),
      formatting_func: () => '<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb',
      callbacks: [{ on_log() {} }],
      compute_metrics: () => ({}),
      preprocess_logits_for_metrics: (logits) => logits,
    });
    train_on_responses_only(trainer, { instruction_part: '<|im_start|>user\n', response_part: '<|im_start|>assistant\n' });
    const names = trainer.toYaml().match(/^# \w+(?= is code)/gm);
    const code = ['formatting_func', 'callbacks', 'compute_metrics', 'preprocess_logits_for_metrics', 'train_on_responses_only'];
    expect(names).toEqual(code.map((name) => `# ${name}`));
    const worn = get_peft_model(await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false }), new LoraConfig({ r: 2 }));
    const next = { model: worn, processing_class: tinyTokenizer(), train_dataset: Dataset.from_list([chatRow('a', 'b')]) };
    const second = new SFTTrainer({ ...next, args: new SFTConfig({ output_dir: at('code') }) });
    expect(second.toYaml()).toContain('# The model wore its adapter when the trainer got it');
    const config = {
      model_name_or_path: at('bare'),
      dataset_name: at('rows.jsonl'),
      output_dir: at('code'),
      chat_template_path: at('model'),
    };
    const templated = await SFTTrainer.fromConfig({ ...config, use_peft: true, lora_target_modules: ['q_proj'] });
    expect(templated.toYaml()).toContain(`chat_template_path: ${at('model')}\n`);
    const again = await SFTTrainer.fromYaml(templated.toYaml());
    expect(again.args).toEqual(templated.args);
  });

  it('says what no key can: another method, rows that were made in code', async () => {
    const model = await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false });
    const train_dataset: Dataset = Dataset.from_list([chatRow('a', 'b')]);
    const peft_config = new IA3Config({ target_modules: ['k_proj'], feedforward_modules: [] });
    const args = new SFTConfig({ output_dir: at('ia3'), hub_token: 'hf_secret' });
    const yaml = new SFTTrainer({ model, processing_class: tinyTokenizer(), train_dataset, peft_config, args }).toYaml();
    expect(yaml).toContain('peft_config:\n  peft_type: IA3\n');
    expect(yaml).toMatch(/^# The rows were made in code/);
    expect(yaml).not.toContain('hf_secret');
    // Rows of several sets, some kept for evaluation; a column's name is what its set calls it.
    const part = { path: at('rows.jsonl'), split: 'train[:50%]', columns: ['messages'] };
    const mixed = `${yaml}datasets: ${JSON.stringify([part, { path: 'json', data_files: at('rows.jsonl') }])}\ntest_split_size: 2\neval_strategy: epoch\n`;
    expect(await SFTTrainer.fromYaml(mixed).then((one) => inspect(one))).toMatch(/train_rows: 10,\s+eval_rows: 2/);
    const back = await SFTTrainer.fromYaml(`${yaml}dataset_name: ${at('rows.jsonl')}\n`);
    expect(back.toYaml()).toContain('peft_config:\n  peft_type: IA3\n');
  });
});

it.each([
  ['a model', ['model', '--served-model-name', 'mine'], 'mine', ['mine']],
  ['an adapter by its folder, its base by its own', ['polite'], 'polite', [at('model'), 'polite']],
  ['an adapter beside its base', ['model', '--adapter', 'polite'], 'polite', ['model', 'polite']],
])('serve answers as %s until it is told to end, then ends in order', async (_, args, name, names) => {
  if (name === 'polite' && !existsSync(at(name))) {
    const base = await AutoModelForCausalLM.from_pretrained(at('model'), { progress: false });
    await get_peft_model(base, new LoraConfig({ r: 2, target_modules: ['q_proj'] })).save_pretrained(at(name));
  }
  let asked: Promise<unknown> | undefined;
  const ended = await tunebook(['serve', ...args, '--port', '0'], {
    during: (child, said) => {
      const url = /http:\S+\/v1/.exec(said)?.[0];
      if (!url || asked) return;
      const body = JSON.stringify({ model: name, prompt: 'Hello', max_tokens: 2 });
      asked = fetch(`${url}/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
        .then((answer) => answer.json())
        .finally(() => child.kill('SIGTERM'));
    },
  });
  expect(ended).toMatchObject({ code: 0, signal: null });
  expect(ended.out).toContain(`answers as ${names.join(', ')}.`);
  expect(await asked).toMatchObject({ model: name, object: 'text_completion' });
});

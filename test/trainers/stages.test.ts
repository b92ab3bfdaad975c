// Raw text and answers: packing that keeps texts apart, answers alone, one stage after another.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { on } from '../../src/core/events';
import type { Audit } from '../../src/data/audit';
import { collate, textsOf } from '../../src/data/collate';
import { PACKING, pack } from '../../src/data/packing';
import { type Example, prepareSft } from '../../src/data/sft';
import * as tf from '../../src/engine/tf';
import {
  AutoModelForCausalLM,
  Dataset,
  IterableDataset,
  LoraConfig,
  SFTConfig,
  SFTTrainer,
  train_on_responses_only,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { PeftModel } from '../../src/peft/model';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const documents = Dataset.from_list(
  Array.from({ length: 14 }, (_, i) => ({ text: `Document ${i}: ${'words and '.repeat(i % 9)}its end.` })),
);
let folder: string;
let model: CausalLM;
beforeAll(async () => {
  folder = await tinyLlama(3);
  model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
});

const ALL = { max_length: null, assistant_only_loss: false, completion_only_loss: null, dataset_text_field: 'text' };
/** The losses of every learned token, text by text. */
function lossesOf(rows: Example[]): number[][] {
  return tf.tidy(() => {
    const { ids, layout, positions, labels, textOf } = collate(rows, textsOf);
    const losses = model.losses(ids, positions, labels, { layout }).dataSync();
    const texts = rows.flatMap(textsOf).map((): number[] => []);
    for (const [i, loss] of losses.entries()) texts[textOf[i]].push(loss);
    return texts;
  });
}

it.each(PACKING)('packed by %s, a text changes no other text’s loss, and each begins at position 0', (strategy) => {
  const { examples } = prepareSft(documents, tokenizer, ALL);
  const rows = pack(examples, 64, strategy);
  expect(rows.some((row) => (row.lengths?.length ?? 0) > 1)).toBe(true);
  const texts = rows.flatMap(textsOf);
  const together = lossesOf(rows);
  for (const [i, text] of texts.entries())
    for (const [k, loss] of lossesOf([text])[0].entries()) expect(Math.abs(together[i][k] - loss)).toBeLessThan(2e-5);
  // Another first text in a row with several.
  const at = rows.findIndex((row) => (row.lengths?.length ?? 0) > 1);
  const first = (rows[at].lengths as number[])[0];
  const others = { ...rows[at], input_ids: rows[at].input_ids.map((id, i) => (i < first ? (id + 7) % 256 : id)) };
  const changed = lossesOf(rows.with(at, others));
  const which = rows.slice(0, at).reduce((n, row) => n + (row.lengths?.length ?? 1), 0);
  for (const [i, losses] of together.entries()) {
    if (i === which) expect(losses).not.toEqual(changed[i]);
    // What texts begin with in common stands there once, or not any more: sums have another order then.
    else for (const [k, loss] of losses.entries()) expect(Math.abs(loss - changed[i][k])).toBeLessThan(1e-5);
  }
});

const quiet = { disable_tqdm: true, learning_rate: 1e-3, max_steps: 3, per_device_train_batch_size: 2, save_strategy: 'no' as const };
const losses = (trainer: Pick<SFTTrainer, 'run'>) => trainer.run!.series.loss.map(([, value]) => value);
const chats = Dataset.from_list(Array.from({ length: 6 }, (_, i) => chatRow(`What is ${i}?`, `It is ${i}.`)));

it('raw text in packed rows first, then answers, without saving between; as with it', async () => {
  const output_dir = scratch('stages');
  const first = (of: CausalLM) =>
    new SFTTrainer<CausalLM>({
      model: of,
      processing_class: tokenizer,
      train_dataset: documents,
      args: new SFTConfig({ ...quiet, output_dir, packing: true, packing_strategy: 'wrapped', max_length: 48 }),
    });
  const then = (of: CausalLM, peft_config: LoraConfig | null) =>
    new SFTTrainer({
      model: of,
      processing_class: tokenizer,
      train_dataset: chats,
      peft_config,
      args: new SFTConfig({ ...quiet, output_dir: scratch('stages'), assistant_only_loss: true }),
    });
  const pretrained = first(await AutoModelForCausalLM.from_pretrained(folder, { progress: false }));
  await pretrained.train();
  expect(losses(pretrained)).toHaveLength(3);
  await pretrained.save_model();
  const lora = () => new LoraConfig({ r: 2, target_modules: 'all-linear' });
  const saved = then(await AutoModelForCausalLM.from_pretrained(output_dir, { progress: false }), lora());
  const chained = then(pretrained.model, lora());
  for (const trainer of [saved, chained]) await trainer.train();
  expect(losses(chained)).toEqual(losses(saved));
  // A third stage goes on with the adapter.
  const third = new SFTTrainer({
    model: chained.model as PeftModel<CausalLM>,
    processing_class: tokenizer,
    train_dataset: chats,
    args: new SFTConfig({ ...quiet, output_dir: scratch('stages'), assistant_only_loss: true }),
  });
  await third.train();
  expect(losses(third)[0]).toBeLessThan(losses(chained)[0]);
});

/** What is learned of a trainer's rows. */
const learned = (trainer: unknown) =>
  (trainer as { parts: { train: Example[] } }).parts.train.map(({ input_ids, trained }) =>
    tokenizer.decode(input_ids.filter((_, i) => trained[i])),
  );
const textTrainer = (texts: string[] | IterableDataset<{ text: string }>, args = {}) =>
  new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: Array.isArray(texts) ? Dataset.from_list(texts.map((text) => ({ text }))) : texts,
    peft_config: new LoraConfig({ r: 2 }),
    args: new SFTConfig({ ...quiet, output_dir: scratch('responses'), ...args }),
  });
const llama2 = { instruction_part: '[INST]', response_part: '[/INST]' };
const chatml = { instruction_part: '<|im_start|>user\n', response_part: '<|im_start|>assistant\n' };

it('answers alone are learned of texts: train_on_responses_only', () => {
  const guanaco = ['[INST] Hi [/INST] Hello. <|im_end|>[INST] And? [/INST] More. <|im_end|>', '[INST] a [/INST] b '];
  expect(learned(train_on_responses_only(textTrainer(guanaco), llama2))).toEqual([' Hello. <|im_end|> More. <|im_end|>', ' b <|im_end|>']);
  const chat = tokenizer.renderChat([...chatRow('q', 'ä🙂').messages, ...chatRow('r', 'b').messages]);
  expect(learned(train_on_responses_only(textTrainer([chat, 'no answer']), chatml))).toEqual(['ä🙂<|im_end|>\nb<|im_end|>\n<|im_end|>']);
  const packed = train_on_responses_only(textTrainer([...guanaco, guanaco[1]], { packing: true, max_length: 200 }), llama2);
  expect(learned(packed)).toEqual([' Hello. <|im_end|> More. <|im_end|> b <|im_end|> b <|im_end|>']);
  expect(() => train_on_responses_only(textTrainer(guanaco), chatml)).toThrow(
    /no row of train_dataset has '<\|im_start\|>assistant\s' with an answer/,
  );
  expect(() => train_on_responses_only(textTrainer(guanaco), { ...llama2, instruction_part: '' })).toThrow(/needs instruction_part/);
});

it('rows of which less is learned keep their numbers and what they lost, and are packed anew', () => {
  const audits: Audit[] = [];
  const off = on('preview', ({ audit }) => audits.push(audit as Audit));
  const texts = ['no answer', '[INST] a [/INST] b', `[INST] c [/INST] ${'d '.repeat(60)}`, 'nor here', '[INST] e [/INST] f g'];
  for (const packing of [false, true]) {
    const trainer = train_on_responses_only(textTrainer(texts, { packing, shuffle_dataset: true, max_length: 64 }), llama2);
    const audit = audits.at(-1) as Audit;
    expect(audit.rows.map(({ title }) => title)).toEqual(['Row 1: the shortest answer', 'Row 2: the longest answer, cut'].sort());
    const said = audit.findings.map(({ text }) => text).join(' ');
    expect(said).toContain('Every answer that is not cut ends with a token that ends it');
    expect(said).toContain('2 rows of 5 (0, 3) have nothing to learn and are left out');
    expect(said).toContain('1 row of 5 is longer than max_length = 64 and cut there');
    const { train } = (trainer as unknown as { parts: { train: Example[] } }).parts;
    expect(train.flatMap(textsOf)).toHaveLength(3);
    expect(Object.fromEntries(audit.figures)['packed into']?.split(',')[0]).toBe(packing ? `${train.length} rows` : undefined);
  }
  off();
});

it('a function makes texts of rows; a template comes from a file, an end of text from the options', () => {
  const rows = Dataset.from_list([{ question: 'a', answer: 'b' }]);
  const options = { model, peft_config: new LoraConfig({ r: 2 }), train_dataset: rows };
  const own = tinyTokenizer({ chat_template: undefined });
  const args = new SFTConfig({ ...quiet, output_dir: scratch('formatted'), eos_token: '<|pad|>' });
  const formatted = new SFTTrainer({
    ...options,
    processing_class: own,
    args,
    formatting_func: ({ question, answer }: { question: string; answer: string }) => `${question}: ${answer}`,
  });
  expect(learned(formatted)).toEqual(['a: b<|pad|>']);
  expect([model.config.eos_token_id, model.generation_config.eos_token_id]).toEqual([257, [257, 258]]);
  const path = join(scratch('template'), 'chat.jinja');
  writeFileSync(path, '{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}');
  const templated = new SFTTrainer({
    ...options,
    train_dataset: chats.take(1),
    processing_class: own,
    args: new SFTConfig({ ...quiet, output_dir: scratch('formatted'), chat_template_path: path }),
  });
  expect(learned(templated)).toEqual(['user: What is 0?assistant: It is 0.']);
  const named = new SFTConfig({ chat_template_path: 'owner/chat' });
  expect(() => new SFTTrainer({ ...options, train_dataset: chats, processing_class: own, args: named })).toThrow(
    /await clone_chat_template\(model, tokenizer, 'owner\/chat'\)/,
  );
});

it('a run takes from a stream the rows that its steps need, and learns them as rows in memory', async () => {
  let read = 0;
  const stream = Dataset.from_list(chats.to_list())
    .to_iterable_dataset()
    .repeat()
    .map((row) => {
      read++;
      return row;
    });
  const of = (train_dataset: Dataset<{ messages: object[] }> | typeof stream, args = {}) =>
    new SFTTrainer({
      model,
      processing_class: tokenizer,
      train_dataset,
      peft_config: new LoraConfig({ r: 2, target_modules: 'all-linear' }),
      args: new SFTConfig({ ...quiet, output_dir: scratch('stream'), assistant_only_loss: true, ...args }),
    });
  const streamed = of(stream);
  expect([read, streamed.state.max_steps]).toEqual([0, 3]);
  await streamed.train();
  expect(read).toBe(6);
  const inMemory = of(chats);
  await inMemory.train();
  expect(losses(streamed)).toEqual(losses(inMemory));
  const packed = of(stream, { packing: true, max_length: 64 });
  await packed.train();
  const rows = (packed as unknown as { parts: { train: Example[] } }).parts.train;
  expect(rows.length).toBeGreaterThanOrEqual(6);
  expect(rows.every((row) => row.input_ids.length <= 64)).toBe(true);
  expect(() => of(stream, { max_steps: -1 })).toThrow(/train_dataset is a stream.*max_steps/);
  const texts = IterableDataset.from_generator(function* () {
    for (let i = 0; ; i++) yield { text: `[INST] ${i} [/INST] It is ${i}.` };
  });
  const responses = new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: texts,
    peft_config: new LoraConfig({ r: 2 }),
    args: new SFTConfig({ ...quiet, output_dir: scratch('stream') }),
  });
  train_on_responses_only(responses, llama2);
  await responses.train();
  expect(learned(responses)[0]).toBe(' It is 0.<|im_end|>');
  // What fails before the first step fails again: a second call must not learn what was to be left out.
  const nothing = textTrainer(texts.map(({ text }) => ({ text: text.replace('[/INST]', '') })));
  train_on_responses_only(nothing, llama2);
  for (const _ of [1, 2]) await expect(nothing.train()).rejects.toThrow(/no row of train_dataset has '\[\/INST\]'/);
  // Rows are told by their numbers in the stream.
  const third = Dataset.from_list([{ text: 'a' }, { text: 'b' }, { words: 'c' }])
    .to_iterable_dataset()
    .repeat();
  for (const args of [{}, { packing: true, max_length: 64 }])
    await expect(textTrainer(third as never, args).train()).rejects.toThrow(/^Row 2 has the fields words/);
});

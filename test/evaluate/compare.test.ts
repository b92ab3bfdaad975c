// Likelihoods against lm-evaluation-harness's own backend; comparisons of models and of answers.
import { join } from 'node:path';
import { inspect } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { DISPLAY } from '../../src/core/shown';
import * as tf from '../../src/engine/tf';
import {
  AutoModelForCausalLM,
  classify,
  compare,
  Dataset,
  fewShot,
  get_peft_model,
  LoraConfig,
  loglikelihood,
  SFTConfig,
  SFTTrainer,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { peer } from '../peer';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
let [folder, model]: [string, CausalLM] = ['', null as never];
beforeAll(async () => {
  folder = await tinyLlama(3, { tie_word_embeddings: false });
  model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  await tokenizer.save_pretrained(folder);
});

const LONG = 'A long beginning that several of these have in common, '.repeat(4);
const PAIRS: [string, string][] = [
  ['The colour of the sky is', ' blue'],
  ['The colour of the sky is', ' a'],
  ['spaces at the end   ', 'belong to what follows'],
  ['', 'no context'],
  [`${LONG}one`, ' x'],
  [`${LONG}one`, ' yz'],
  [`${LONG}two`, ' x'],
  ['caf\u00e9 \ud83d\ude42', ' \u6f22\u5b57'],
  ['context that is cut '.repeat(40), ' end'],
];

it('continuations are as probable as for lm-evaluation-harness', async () => {
  const before = tf.memory().numTensors;
  // The token that a greedy answer begins with, so that one is greedy.
  const [next] = await model.generate(tokenizer.encode('abc'), { max_new_tokens: 1, eos_token_id: [] });
  const pairs: [string, string][] = [...PAIRS, ...(next < 128 ? [['abc', tokenizer.decode([next])] as [string, string]] : [])];
  const ours = await loglikelihood(model, pairs, { tokenizer });
  expect(tf.memory().numTensors).toBe(before);
  const theirs = peer<[number, boolean][]>('harness', { folder, pairs }, 'metrics_peer.py');
  ours.forEach(({ logprob, is_greedy }, i) => {
    expect(Math.abs(logprob - theirs[i][0]), `${pairs[i]}: ${logprob} and ${theirs[i][0]}`).toBeLessThan(
      2e-4 * Math.max(1, Math.abs(theirs[i][0]) / 10),
    );
    expect(is_greedy, pairs[i].join('|')).toBe(theirs[i][1]);
  });
}, 120_000);

it('a conversation is a context too, and what cannot be measured is refused', async () => {
  const messages = [{ role: 'user', content: 'yes or no?' }];
  const [chat] = await loglikelihood(model, [[messages, 'yes']], { tokenizer });
  // As a text, the line end behind the template's last word belongs to the continuation.
  const text = tokenizer.apply_chat_template(messages, { tokenize: false, add_generation_prompt: true });
  const pairs = [
    [text, 'yes'],
    [text.trimEnd(), '\n'],
  ] as [string, string][];
  const [both, line] = await loglikelihood(model, pairs, { tokenizer });
  expect(chat.logprob).toBeCloseTo(both.logprob - line.logprob, 3);
  expect(chat.tokens).toBe(3);
  await expect(loglikelihood(model, [['a', '']], { tokenizer })).rejects.toThrow(/continuation is empty/);
  await expect(loglikelihood(model, [['a', 'b'.repeat(600)]], { tokenizer })).rejects.toThrow(/600 tokens, but max_length is 512/);
  await expect(loglikelihood(model, ['a' as never], { tokenizer })).rejects.toThrow(/pairs \[context, continuation\], but pair 0 is 'a'/);
  await expect(loglikelihood(model, [['a', 'b']], {} as never)).rejects.toThrow(/needs the tokenizer/);
});

const rows = Array.from({ length: 24 }, (_, i) => ({ text: `number ${i}${i % 2 ? '+' : '-'}`, label: i % 2 }));
const dataset = Dataset.from_list(rows);
const prompt = (row: Record<string, unknown>) => String(row.text);
const choices = { 0: 'no', 1: 'yes' };

it('labels are the most probable of the texts that mean them', async () => {
  const made = await classify(model, rows.slice(0, 3), { tokenizer, prompt, choices });
  const each = await loglikelihood(
    model,
    rows.slice(0, 3).flatMap(
      (row) =>
        [
          [prompt(row), ' no'],
          [prompt(row), ' yes'],
        ] as [string, string][],
    ),
    { tokenizer },
  );
  expect(made.labels).toEqual([0, 1]);
  made.logprobs.forEach(([no, yes], i) => {
    expect(no).toBeCloseTo(each[2 * i].logprob, 4);
    expect(made.predictions[i]).toBe(yes > no ? 1 : 0);
    expect(made.prediction_scores[i][1]).toBeCloseTo(1 / (1 + Math.exp(no - yes)), 5);
  });
  const longer = await classify(model, rows.slice(0, 1), {
    tokenizer,
    prompt,
    choices: ['b', 'a much longer answer'],
    normalize: 'characters',
  });
  expect(longer.labels).toEqual(['a much longer answer', 'b']);
  const [[long, short]] = longer.logprobs;
  expect(longer.predictions[0]).toBe(long / 20 > short ? 'a much longer answer' : 'b');
  await expect(classify(model, rows, { tokenizer, prompt, choices: ['one'] })).rejects.toThrow(/at least two texts/);
  await expect(classify(model, rows, { tokenizer, prompt: 'Text: ' as never, choices })).rejects.toThrow(/function of a row/);
});

it('an adapter is compared with its model without it, and with baselines', async () => {
  const peft = get_peft_model(
    await AutoModelForCausalLM.from_pretrained(folder, { progress: false }),
    new LoraConfig({ r: 8, target_modules: 'all-linear', modules_to_save: ['lm_head'] }),
  );
  const bare = await compare({ before: model, after: { predictions: rows.map(() => 0) }, dataset, tokenizer, prompt, choices });
  const trainer = new SFTTrainer({
    model: peft,
    processing_class: tokenizer,
    train_dataset: Dataset.from_list(rows.map((row) => ({ prompt: prompt(row), completion: row.label ? ' yes' : ' no' }))),
    args: new SFTConfig({
      output_dir: join(scratch('compare'), 'out'),
      max_steps: 30,
      per_device_train_batch_size: 8,
      learning_rate: 0.02,
      report_to: [],
      save_strategy: 'no',
    }),
  });
  await trainer.train();
  const shots = fewShot(rows, { question: prompt, answer: (row) => ` ${row.label ? 'yes' : 'no'}` }, { k: 2, tokenizer, max_length: 300 });
  const result = await compare({
    after: peft,
    baselines: { 'few-shot': { model, prompt: shots }, always: { predictions: rows.map(() => 1), prediction_scores: rows.map(() => 0.5) } },
    dataset,
    metrics: ['accuracy', 'f1', 'roc_auc'],
    metric_options: { zero_division: 0 },
    tokenizer,
    prompt,
    choices,
    n_resamples: 100,
  });
  // The model below the adapter is asked without it, whichever way it is given.
  const base = peft.base_model;
  const asked = { dataset, tokenizer, prompt, choices, n_resamples: 20 };
  const said = async (options: Pick<Parameters<typeof compare>[0], 'after'> & Partial<Parameters<typeof compare>[0]>) =>
    Object.fromEntries((await compare({ ...asked, ...options })).results.map(({ name, predictions }) => [name, predictions]));
  const [bareSaid, tuned] = [bare.results[0].predictions, result.results[3].predictions];
  expect(bareSaid).not.toEqual(tuned);
  for (const options of [
    { before: base, after: peft },
    { before: { model: base }, after: peft },
    { before: base, after: { model: peft } },
    { after: { model: peft, prompt } },
  ])
    expect(await said(options)).toEqual({ before: bareSaid, after: tuned });
  expect(await said({ before: { predictions: tuned }, after: peft, baselines: { base, also: { model: base } } })).toEqual({
    ...{ before: tuned, base: bareSaid, also: bareSaid, after: tuned },
  });
  const [before, few, always, after] = result.results;
  expect([before.name, few.name, always.name, after.name]).toEqual(['before', 'few-shot', 'always', 'after']);
  expect(before.predictions).toEqual(bare.results[0].predictions);
  expect(always.metrics.accuracy.value).toBe(0.5);
  expect(after.metrics.accuracy.value).toBe(1);
  expect(after.metrics.f1.low).toBe(1);
  expect(before.metrics.accuracy.low).toBeLessThanOrEqual(before.metrics.accuracy.value);
  expect(result.test.only_before).toBe(0);
  expect(result.changed()).toHaveLength(result.test.only_after);
  expect(result.confusion_matrix().matrix).toEqual([
    [12, 0],
    [0, 12],
  ]);
  expect(result.report()).toMatch(/accuracy {27}1\.00 {8}24/);
  expect(JSON.parse(JSON.stringify(result)).results).toHaveLength(4);
  expect(inspect(result)).toMatch(/^ +accuracy .*\nbefore .*\nfew-shot .*\nalways .*\nafter +1\.000 \(1\.000 to 1\.000\)/);
  const shown = (await result[DISPLAY]()) as Record<string, string>;
  expect(Buffer.from(shown['image/png'], 'base64').subarray(1, 4).toString()).toBe('PNG');
  expect(shown['text/html']).toMatch(/<th[^>]*>accuracy<\/th>/);
  expect(shown['text/html']).toContain('McNemar');
});

it('examples stand before the question: the nearest last, never the question itself, as many as there is room for', () => {
  const known = [
    { t: 'red apple', l: 'fruit' },
    { t: 'fast car', l: 'thing' },
    { t: 'green apple', l: 'fruit' },
    { t: 'slow car', l: 'thing' },
  ];
  const parts = { question: (row: Record<string, unknown>) => `${row.t} ->`, answer: (row: Record<string, unknown>) => ` ${row.l}` };
  expect(fewShot(known, parts, { k: 2 })({ t: 'an apple that is red' })).toBe(
    'green apple -> fruit\n\nred apple -> fruit\n\nan apple that is red ->',
  );
  expect(fewShot(known, parts, { k: 1 })(known[0])).toBe('green apple -> fruit\n\nred apple ->');
  expect(fewShot(known, parts, { k: 3, tokenizer, max_length: 45 })({ t: 'red apple pie' }).split('\n\n')).toHaveLength(2);
  expect(fewShot(known, parts, { k: 2, choose: 'random', seed: 1 })({ t: 'x' })).toBe(
    fewShot(known, parts, { k: 2, choose: 'random', seed: 1 })({ t: 'x' }),
  );
  expect(fewShot(known, parts, { k: 0 })({ t: 'x' })).toBe('x ->');
  expect(() => fewShot(known, parts, { k: 9 })).toThrow(/4 examples, but k is 9/);
  expect(() => fewShot(known, parts, { max_length: 9 })).toThrow(/give the tokenizer/);
});

it.each([
  [{ before: { predictions: [1] }, after: { predictions: [1] } }, /before has 1 predictions for 24 rows/],
  [{ after: { predictions: rows.map(() => 1) } }, /needs before/],
  [
    { before: { predictions: rows.map(() => 1) }, after: { predictions: rows.map(() => 1) }, reference: 'lable' },
    /row 0 has no 'lable'; it has text, label/,
  ],
  [{ before: { predictions: rows.map(() => 1) }, after: { predictions: rows.map(() => 1) }, metrics: ['acc'] }, /no metric 'acc'/],
])('%j says what is wrong', async (given, message) => {
  await expect(compare({ dataset, ...given } as never)).rejects.toThrow(message);
});

it('a model without the means to ask it is refused by what is missing', async () => {
  await expect(compare({ before: model, after: model, dataset, tokenizer })).rejects.toThrow(/prompt and choices is missing/);
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { resolveModel } from '../../src/hub/resolve';
import { AutoModelForCausalLM, AutoTokenizer, generate } from '../../src/index';
import { peer } from '../peer';
import { scratch, tinyLlama } from '../tiny';

const BASE = 'HuggingFaceTB/SmolLM2-135M-Instruct';
const TEXTS = [
  'The capital of France is',
  'LoRA trains two small matrices beside each frozen weight, so that',
  'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
  '<|im_start|>user\nWhat is a key-value cache?<|im_end|>\n<|im_start|>assistant\n',
  'Überraschung! 東京 ist die Hauptstadt von 日本 🙂 und 3.14159 ist etwa',
];

it('SmolLM2: logits within 2e-3 of transformers, greedy continuations the same, weights packed', async () => {
  const [model, tokenizer] = [
    await AutoModelForCausalLM.from_pretrained(BASE, { progress: false }),
    await AutoTokenizer.from_pretrained(BASE),
  ];
  const tensorBytes = 96_576_768; // of the file: the sum of its tensors
  expect(model.weightBytes()).toBeLessThanOrEqual(1.1 * tensorBytes);
  expect(model.numParameters()).toBe(134_515_008);
  const folder = scratch('logits');
  const rows = TEXTS.map((text, i) => {
    const ids = tokenizer.encode(text);
    const logits = tf.tidy(() => model.forward(tf.tensor2d([ids], [1, ids.length], 'int32')).dataSync() as Float32Array);
    writeFileSync(join(folder, `${i}.bin`), new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
    return { ids, logits: join(folder, `${i}.bin`) };
  });
  const made: number[][] = [];
  for (const { ids } of rows) made.push(await generate(model, ids, { max_new_tokens: 64, eos_token_id: [] }));
  const theirs = peer<{ difference: number; made: number[]; margins: number[] }[]>('smol', {
    model: (await resolveModel(BASE)).path,
    rows,
  });
  for (const [i, { difference, made: expected, margins }] of theirs.entries()) {
    expect(difference, TEXTS[i]).toBeLessThan(2e-3);
    const at = made[i].findIndex((id, j) => id !== expected[j]);
    // Where the two best logits are that close, either is right, and what follows differs.
    if (at >= 0) expect(margins[at], `${TEXTS[i]}: position ${at}`).toBeLessThan(4e-3);
  }
  model.dispose();
});

it('tiny random models of each architecture: logits within 1e-4, with a cache too', async () => {
  const ids = [
    [3, 1, 4, 1, 5, 9, 2, 6],
    [2, 7, 1, 8, 2, 8, 1, 8],
  ];
  const base = {
    model_type: 'llama',
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    intermediate_size: 48,
    vocab_size: 64,
    max_position_embeddings: 128,
  };
  const configs = [
    { ...base, num_key_value_heads: 2, tie_word_embeddings: true },
    { ...base, num_key_value_heads: 1, tie_word_embeddings: false, rope_parameters: { rope_type: 'default', rope_theta: 500000 } },
    { ...base, num_key_value_heads: 4, tie_word_embeddings: false, attention_bias: true, mlp_bias: true, head_dim: 16 },
    {
      ...base,
      num_key_value_heads: 2,
      rope_parameters: {
        rope_type: 'llama3',
        rope_theta: 10000,
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 32,
      },
    },
    { ...base, num_key_value_heads: 2, rope_parameters: { rope_type: 'linear', rope_theta: 10000, factor: 4 } },
    ...[
      { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 },
      {
        rope_type: 'yarn',
        factor: 4,
        original_max_position_embeddings: 64,
        beta_fast: 8,
        truncate: false,
        mscale: 0.7,
        mscale_all_dim: 0.5,
      },
      { rope_type: 'longrope', factor: 4, original_max_position_embeddings: 32, short_factor: [1, 1.1, 1.2, 2], long_factor: [1, 2, 3, 4] },
      { rope_type: 'longrope', factor: 32, original_max_position_embeddings: 4, short_factor: [1, 1.1, 1.2, 2], long_factor: [1, 2, 3, 4] },
      { rope_type: 'dynamic', factor: 2 },
    ].map((rope) => ({ ...base, num_key_value_heads: 2, rope_parameters: { rope_theta: 10000, ...rope } })),
    {
      ...base,
      num_key_value_heads: 2,
      max_position_embeddings: 5,
      rope_parameters: { rope_type: 'dynamic', rope_theta: 10000, factor: 2 },
    },
    { ...base, model_type: 'mistral', num_key_value_heads: 2, sliding_window: 3 },
    { ...base, model_type: 'mistral', num_key_value_heads: 1, sliding_window: null, head_dim: 12 },
  ];
  const cases = [1, 2, 3].flatMap((seed) => configs.map((config) => ({ seed, config, ids, folder: scratch('tiny') })));
  const expected = peer<number[][]>('tiny', { cases });
  for (const [i, { folder, config, seed }] of cases.entries()) {
    const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
    const logits = tf.tidy(() => model.forward(tf.tensor2d(ids, [2, 8], 'int32')).dataSync());
    const worst = Math.max(...expected[i].map((value, j) => Math.abs(value - logits[j])));
    expect(worst, `seed ${seed}, ${JSON.stringify(config)}`).toBeLessThan(1e-4);
    // Where rotations change with the length of the text, keys in a cache have those of their time.
    if (/dynamic|longrope/.test(JSON.stringify(config))) {
      model.dispose();
      continue;
    }
    const cache = model.newCache(8);
    const last = tf.tidy(() => {
      const steps = ids[1].map((id) => model.logits(tf.reshape(model.hidden(tf.tensor2d([[id]], [1, 1], 'int32'), { cache }), [1, -1])));
      return steps[7].dataSync();
    });
    const width = last.length;
    expect(Math.max(...Array.from(last, (value, j) => Math.abs(value - expected[i][15 * width + j])))).toBeLessThan(1e-4);
    cache.dispose();
    model.dispose();
  }
});

it('a model that save_pretrained wrote has the same logits in transformers', async () => {
  const ids = [[3, 1, 4, 1, 5, 9, 2, 6]];
  for (const [at, dtype] of [
    [await tinyLlama(5), 'auto'],
    [await tinyLlama(6, { tie_word_embeddings: false }), 'bfloat16'],
    [BASE, 'auto'],
  ]) {
    const model = await AutoModelForCausalLM.from_pretrained(at, { progress: false, dtype });
    const folder = scratch('saved');
    await model.save_pretrained(folder);
    const logits = tf.tidy(() => model.forward(tf.tensor2d(ids, [1, 8], 'int32')).dataSync());
    const theirs = peer<number[]>('saved', { model: folder, ids });
    const worst = theirs.reduce((most, value, i) => Math.max(most, Math.abs(value - logits[i])), 0);
    expect(worst, at).toBeLessThan(at === BASE ? 2e-3 : 1e-4);
    model.dispose();
  }
});

import { beforeAll, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { Handle } from '../../src/engine/backend';
import * as tf from '../../src/engine/tf';
import { sample } from '../../src/generate/logits';
import { AsyncTextIteratorStreamer, AutoModelForCausalLM, generate, pipeline, TextStreamer } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { tinyLlama, tinyTokenizer } from '../tiny';

let model: CausalLM;
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(2, { vocab_size: 259 }), { progress: false });
});

it('with the cache writes what the full forward pass says, and frees everything', async () => {
  const prompt = [5, 6, 7];
  const before = [tf.memory().numTensors, Handle.nativeBytes];
  const made = await generate(model, prompt, { max_new_tokens: 20, eos_token_id: [] });
  const all = [...prompt];
  for (let i = 0; i < 20; i++) {
    all.push(
      tf.tidy(() => {
        const logits = model.forward(tf.tensor2d([all], [1, all.length], 'int32'));
        return tf.argMax(logits.slice([0, all.length - 1, 0], [1, 1, -1]).flatten()).dataSync()[0];
      }),
    );
  }
  expect(made).toEqual(all.slice(3));
  expect([tf.memory().numTensors, Handle.nativeBytes]).toEqual(before);
});

it('stops at end tokens, on request and at the context length', async () => {
  const [first, second] = await generate(model, [5, 6], { max_new_tokens: 2, eos_token_id: [] });
  expect(await generate(model, [5, 6], { max_new_tokens: 9, eos_token_id: second === first ? first : [second] })).toHaveLength(
    second === first ? 1 : 2,
  );
  expect(await generate(model, [5, 6], { max_new_tokens: 9, eos_token_id: [], should_continue: () => false })).toHaveLength(1);
  const long = Array.from({ length: 510 }, () => 1);
  expect(await generate(model, long, { max_new_tokens: 50, eos_token_id: [] })).toHaveLength(2);
  await expect(generate(model, Array(600).fill(1), {})).rejects.toThrow(/600 tokens, but the model knows only 512/);
  await expect(generate(model, [], {})).rejects.toThrow(/at least one token/);
  await expect(generate(model, [1], { maxNewTokens: 3 } as object)).rejects.toThrow(/Did you mean max_new_tokens/);
});

it('samples by seed, within top_k and top_p', async () => {
  const options = { max_new_tokens: 12, do_sample: true, temperature: 2, eos_token_id: [] };
  expect(await generate(model, [5], { ...options, seed: 1 })).toEqual(await generate(model, [5], { ...options, seed: 1 }));
  expect(await generate(model, [5], { ...options, seed: 1 })).not.toEqual(await generate(model, [5], { ...options, seed: 2 }));
  const logits = Float32Array.of(0, Math.log(2), Math.log(4), Math.log(1));
  const count = [0, 0, 0, 0];
  const random = Random.seeded(1);
  for (let i = 0; i < 8000; i++) count[sample(logits, { temperature: 1, top_k: 0, top_p: 1 }, random)]++;
  for (const [i, share] of [1, 2, 4, 1].entries()) expect(Math.abs(count[i] / 8000 - share / 8)).toBeLessThan(0.02);
  for (let i = 0; i < 100; i++) expect([1, 2]).toContain(sample(logits, { temperature: 1, top_k: 2, top_p: 1 }, random));
  for (let i = 0; i < 100; i++) expect(sample(logits, { temperature: 1, top_k: 0, top_p: 0.4 }, random)).toBe(2);
});

it('the pipeline answers texts and conversations and streams whole characters', async () => {
  const tokenizer = tinyTokenizer();
  const chat = await pipeline('text-generation', model, { tokenizer });
  const [{ generated_text }] = await chat('ab', { max_new_tokens: 5 });
  expect(generated_text.startsWith('ab')).toBe(true);
  const [answer] = await chat([{ role: 'user', content: 'hi' }], { max_new_tokens: 5 });
  expect(answer.generated_text.map((m) => m.role)).toEqual(['user', 'assistant']);
  await expect(pipeline('text-generaton' as 'text-generation', model)).rejects.toThrow(/Did you mean 'text-generation'/);
  const parts: string[] = [];
  const streamer = new TextStreamer(tokenizer, (text) => parts.push(text));
  for (const id of tokenizer.encode('so 🙂 it')) streamer.put(id);
  streamer.end();
  expect(parts.join('')).toBe('so 🙂 it\n');
  expect(parts.some((p) => p.includes('\ufffd'))).toBe(false);
});

it('pipelines take lists and stream; leaving the loop ends the answer', async () => {
  const tokenizer = tinyTokenizer();
  const ask = await pipeline('text-generation', model, { tokenizer });
  const options = { max_new_tokens: 12, eos_token_id: [] };
  const texts = ['ab', 'a longer one', 'c', 'd', 'e'];
  const each = [];
  for (const text of texts) each.push(await ask(text, options));
  expect(await ask(texts, { ...options, batch_size: 2 })).toEqual(each);
  const [[{ generated_text: chat }]] = await ask([[{ role: 'user', content: 'hi' }]], options);
  expect(chat.map(({ role }) => role)).toEqual(['user', 'assistant']);
  const begun = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'So' },
  ];
  const [{ generated_text: continued }] = await ask(begun, options);
  expect(continued).toHaveLength(2);
  expect(continued[1].content.startsWith('So')).toBe(true);
  const [{ generated_token_ids }] = await ask('ab', { ...options, return_tensors: true });
  expect(generated_token_ids.slice(0, 2)).toEqual(tokenizer.encode('ab'));
  expect(generated_token_ids).toHaveLength(14);
  await expect(ask([] as string[], options)).resolves.toEqual([]);
  await expect(ask([3] as never, options)).rejects.toThrow(/a text, a conversation/);

  let streamed = '';
  for await (const text of ask.stream('ab', options)) streamed += text;
  expect(`ab${streamed}`).toBe(each[0][0].generated_text);
  let count = 0;
  const drawn = { ...options, max_new_tokens: 500, do_sample: true, temperature: 5, top_k: 0 }; // so that words end early
  for await (const _ of ask.stream('ab', { ...drawn, on_token: () => count++ })) break;
  expect(count).toBeLessThan(300);
  await expect(ask.stream('ab', { temperature: 'x' as never, do_sample: true }).next()).rejects.toThrow(/temperature/);
  const streamer = new AsyncTextIteratorStreamer(tokenizer);
  const whole = model.generate(tokenizer.encode('ab'), { ...options, streamer });
  let again = '';
  for await (const text of streamer) again += text;
  expect(again).toBe(streamed);
  expect(await whole).toHaveLength(12);
  for (const batch_size of [0, -1, 1.5, '2', Number.NaN])
    await expect(ask(['ab'], { ...options, batch_size: batch_size as number })).rejects.toThrow(/batch_size/);
});

it.each([
  [
    'while it writes',
    {
      on_token: () => {
        throw new Error('broken');
      },
    },
    /broken/,
  ],
  ['before it begins', { temperature: -1, do_sample: true }, /temperature/],
  ['where a streamer cannot be', { num_return_sequences: 2, do_sample: true }, /streamer/],
])('who reads from a streamer is let go where generation fails %s', async (_, more, message) => {
  const tokenizer = tinyTokenizer();
  const streamer = new AsyncTextIteratorStreamer(tokenizer);
  const failing = expect(model.generate(tokenizer.encode('ab'), { max_new_tokens: 4, ...more, streamer })).rejects.toThrow(message);
  for await (const _ of streamer);
  await failing;
});

it('an interrupt ends an answer within one token, alone, in a batch and in beam search', async () => {
  const flag = new Int32Array(1);
  const symbol = Symbol.for('tunebook.interrupt');
  Object.assign(globalThis, { [symbol]: flag });
  try {
    for (const rows of [[[5, 6]], [[5, 6], [7]]]) {
      let tokens = 0;
      const on_token = () => {
        if (++tokens === 3 * rows.length) flag[0] = 1;
      };
      await expect(generate(model, rows, { max_new_tokens: 50, eos_token_id: [], on_token })).rejects.toThrow(/interrupt/);
      expect(tokens).toBe(3 * rows.length);
      flag[0] = 0;
    }
    setTimeout(() => {
      flag[0] = 1;
    }, 5);
    await expect(generate(model, [5], { max_new_tokens: 500, num_beams: 3, eos_token_id: [] })).rejects.toThrow(/interrupt/);
  } finally {
    Reflect.deleteProperty(globalThis, symbol);
  }
  expect(await generate(model, [5, 6], { max_new_tokens: 4, eos_token_id: [] })).toHaveLength(4);
});

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DISPLAY } from '../../src/core/shown';
import { measure, OptionError, serve } from '../../src/index';
import { tokenText } from '../../src/serve/logprobs';
import { embedsOf, type Pooling } from '../../src/serve/pooling';
import type { Server } from '../../src/serve/serve';
import { tinyLlama, tinyTokenizer } from '../tiny';
import { generated, json, post, serveTiny, TEMPLATE, type Tiny, tiny } from './served';

const tokenizer = tinyTokenizer({ chat_template: TEMPLATE });
let made: Tiny;
let server: Server;
let client: OpenAI;
/** What `generate` says to each prompt, with each adapter. */
const expected = new Map<string, number[]>();

const PROMPTS = ['Hello', 'What is the time?', 'a', 'The quick brown fox jumps over the lazy dog. '.repeat(7)];
const ADAPTERS = { tiny: undefined, one: 'one', two: 'two' } as const;
const text = (ids: number[]) => tokenizer.decode(ids, { skip_special_tokens: true });

beforeAll(async () => {
  made = await tiny();
  for (const [name, adapter] of Object.entries(ADAPTERS))
    for (const prompt of PROMPTS) {
      const path = adapter && made.adapters[adapter];
      expected.set(name + prompt, await generated(made.model, path, tokenizer.encode(prompt), { max_new_tokens: 24 }));
    }
  server = await serveTiny(made, { pooling: 'mean' });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => server.close());

const complete = (model: string, prompt: string, more: object = {}) =>
  client.completions.create({ model, prompt, max_tokens: 24, temperature: 0, ...more } as OpenAI.CompletionCreateParamsNonStreaming);

describe('answers', () => {
  it.each(Object.keys(ADAPTERS))('of %s are those of generate, whatever is written beside them', async (model) => {
    const all = await Promise.all(PROMPTS.map((prompt) => complete(model, prompt)));
    expect(all.map(({ choices }) => choices[0].text)).toEqual(PROMPTS.map((prompt) => text(expected.get(model + prompt) as number[])));
    for (const [i, { usage }] of all.entries()) expect(usage?.completion_tokens).toBe(expected.get(model + PROMPTS[i])?.length);
  });

  it('of base and adapters at once differ, and none has to do with another', async () => {
    const asked = Array.from({ length: 24 }, (_, i) => [Object.keys(ADAPTERS)[i % 3], PROMPTS[(i * 7) % 4]] as const);
    const all = await Promise.all(asked.map(([model, prompt]) => complete(model, prompt)));
    expect(all.map(({ choices }) => choices[0].text)).toEqual(
      asked.map(([model, prompt]) => text(expected.get(model + prompt) as number[])),
    );
    expect(new Set(Object.keys(ADAPTERS).map((model) => text(expected.get(model + PROMPTS[0]) as number[]))).size).toBe(3);
  });

  it('are streamed as they come', async () => {
    for (const model of ['tiny', 'two']) {
      let [all, chunks, reason] = ['', 0, ''];
      const stream = await client.completions.create({ model, prompt: PROMPTS[1], max_tokens: 24, temperature: 0, stream: true });
      for await (const { choices } of stream) {
        all += choices[0].text;
        chunks++;
        reason = choices[0].finish_reason ?? reason;
      }
      expect(all).toBe(text(expected.get(model + PROMPTS[1]) as number[]));
      expect(chunks).toBeGreaterThan(1);
      expect(reason).toBe('length');
    }
  });

  it('draw the same with the same seed, and as generate does', async () => {
    const ids = tokenizer.encode('Hello');
    const ours = await made.model.generate(ids, { do_sample: true, temperature: 0.8, top_k: 0, top_p: 0.9, seed: 7, max_new_tokens: 20 });
    const ask = { temperature: 0.8, top_p: 0.9, seed: 7, max_tokens: 20 };
    const [first, again, other] = await Promise.all([
      complete('tiny', 'Hello', ask),
      complete('tiny', 'Hello', ask),
      complete('tiny', 'Hello', { ...ask, seed: 8 }),
    ]);
    expect(first.choices[0].text).toBe(text(ours));
    expect(again.choices[0].text).toBe(first.choices[0].text);
    expect(other.choices[0].text).not.toBe(first.choices[0].text);
  });

  it('to several prompts, n to each, stand in order', async () => {
    const { choices } = await client.completions.create({
      model: 'tiny',
      prompt: PROMPTS.slice(0, 2),
      n: 2,
      max_tokens: 8,
      temperature: 0,
    });
    const [a, b] = PROMPTS.map((prompt) => text((expected.get(`tiny${prompt}`) as number[]).slice(0, 8)));
    expect(choices.map(({ index, text }) => [index, text])).toEqual([
      [0, a],
      [1, a],
      [2, b],
      [3, b],
    ]);
    const drawn = await client.completions.create({ model: 'tiny', prompt: 'Hello', n: 3, max_tokens: 8, temperature: 1 });
    expect(new Set(drawn.choices.map(({ text }) => text)).size).toBe(3);
    const best = await client.completions.create({ model: 'tiny', prompt: 'Hello', n: 1, best_of: 3, max_tokens: 8, temperature: 1 });
    expect(best.choices).toHaveLength(1);
  });

  it('end before a stop string, whose beginning is never sent', async () => {
    const whole = text(expected.get(`tiny${PROMPTS[0]}`) as number[]);
    const stop = whole.slice(6, 10);
    const { choices } = await complete('tiny', PROMPTS[0], { stop: [stop, 'never there'] });
    expect(choices[0]).toMatchObject({ text: whole.slice(0, whole.indexOf(stop)), finish_reason: 'stop' });
    let streamed = '';
    const stream = await client.completions.create({
      model: 'tiny',
      prompt: PROMPTS[0],
      max_tokens: 24,
      temperature: 0,
      stop,
      stream: true,
    });
    for await (const chunk of stream) streamed += chunk.choices[0].text;
    expect(streamed).toBe(choices[0].text);
  });

  it.each([
    ['logit_bias', { logit_bias: { 65: 100 } }, 'A'.repeat(5)],
    ['stop_token_ids', { logit_bias: { 65: 100 }, stop_token_ids: [65] }, ''],
    ['min_tokens', { logit_bias: { 258: 100 }, min_tokens: 1, max_tokens: 2 }, undefined],
  ])('obey %s', async (_, more, wanted) => {
    const { choices, usage } = await complete('tiny', 'Hello', { max_tokens: 5, ...more });
    if (wanted !== undefined) expect(choices[0].text).toBe(wanted === '' ? '' : wanted.replaceAll('A', tokenizer.decode([65])));
    else expect(usage?.completion_tokens).toBe(2);
  });

  it('to conversations are those of the chat template', async () => {
    const messages = [
      { role: 'system' as const, content: 'Be brief.' },
      { role: 'user' as const, content: 'Hi!' },
    ];
    const ids = tokenizer.apply_chat_template(messages, { add_generation_prompt: true });
    const wanted = text(await generated(made.model, made.adapters.one, ids, { max_new_tokens: 12 }));
    const { choices, usage } = await client.chat.completions.create({ model: 'one', messages, max_tokens: 12, temperature: 0 });
    expect(choices[0].message).toMatchObject({ role: 'assistant', content: wanted });
    expect(usage?.prompt_tokens).toBe(ids.length);
    let [streamed, last] = ['', undefined as OpenAI.CompletionUsage | null | undefined];
    const parts = [
      { role: 'system' as const, content: 'Be brief.' },
      { role: 'user' as const, content: [{ type: 'text' as const, text: 'Hi!' }] },
    ];
    const stream = await client.chat.completions.create({
      model: 'one',
      messages: parts,
      max_completion_tokens: 12,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      streamed += chunk.choices[0]?.delta.content ?? '';
      last = chunk.usage;
    }
    expect(streamed).toBe(wanted);
    expect(last).toEqual(usage);
  });
});

describe('log-probabilities', () => {
  it('of answers and prompts are the logarithms of softmax', async () => {
    const ids = tokenizer.encode('Hello');
    const { choices } = await client.completions.create({
      model: 'tiny',
      prompt: ids,
      max_tokens: 2,
      temperature: 0,
      echo: true,
      logprobs: 3,
    });
    const { logprobs } = choices[0];
    const all = [...ids, ...(expected.get('tinyHello') as number[]).slice(0, 2)];
    expect(logprobs?.tokens).toEqual(all.map((id) => tokenText(tokenizer, id).token));
    expect(logprobs?.tokens?.slice(0, 5)).toEqual([...'Hello']);
    const tf = await import('../../src/engine/tf');
    const rows = tf.tidy(() =>
      tf.logSoftmax(tf.squeeze(made.model.forward(tf.tensor2d([all], [1, all.length], 'int32')), [0])).arraySync(),
    ) as number[][];
    const wanted = [null, ...all.slice(1).map((id, i) => rows[i][id])];
    expect(logprobs?.token_logprobs?.[0]).toBeNull();
    for (const [i, value] of wanted.entries()) if (value !== null) expect(logprobs?.token_logprobs?.[i]).toBeCloseTo(value, 3);
    for (const [i, top] of (logprobs?.top_logprobs ?? []).entries())
      if (i) expect(Math.max(...Object.values(top as Record<string, number>))).toBeCloseTo(Math.max(...rows[i - 1]), 3);
    expect(choices[0].text).toBe(text(all));
  });

  it('of nothing but the prompt', async () => {
    const { choices, usage } = await client.completions.create({ model: 'two', prompt: 'Hello', max_tokens: 0, echo: true, logprobs: 0 });
    expect(choices[0]).toMatchObject({ text: 'Hello', finish_reason: 'length' });
    expect(choices[0].logprobs?.token_logprobs).toHaveLength(5);
    expect(usage?.completion_tokens).toBe(0);
  });

  it('of chats have bytes', async () => {
    const { choices } = await client.chat.completions.create({
      model: 'tiny',
      messages: [{ role: 'user', content: 'Hi' }],
      max_tokens: 3,
      temperature: 0,
      logprobs: true,
      top_logprobs: 2,
    });
    const { content } = choices[0].logprobs as { content: OpenAI.ChatCompletionTokenLogprob[] };
    expect(content).toHaveLength(3);
    for (const { bytes, logprob, top_logprobs } of content) {
      expect(bytes).toHaveLength(1);
      expect(top_logprobs[0].logprob).toBeCloseTo(logprob, 6);
    }
  });
});

describe('answers of a form', () => {
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  const parameters = { type: 'object', properties: { yes: { type: 'boolean' } }, required: ['yes'], additionalProperties: false };
  const tools = ['ask', 'tell'].map((name) => ({ type: 'function' as const, function: { name, parameters } }));

  it('are JSON of a schema, one of some texts, what a pattern matches', async () => {
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'answer', schema: parameters } };
    const chat = await client.chat.completions.create({ model: 'one', messages, max_tokens: 60, response_format });
    expect(JSON.parse(chat.choices[0].message.content as string).yes).toBeTypeOf('boolean');
    const any = await client.chat.completions.create({ model: 'one', messages, max_tokens: 400, response_format: { type: 'json_object' } });
    if (any.choices[0].finish_reason === 'stop') expect(JSON.parse(any.choices[0].message.content as string)).toBeTypeOf('object');
    for (const [form, wanted] of [
      [{ choice: ['spam', 'ham'] }, /^(spam|ham)$/],
      [{ regex: '[0-9]{3}-[a-f]' }, /^[0-9]{3}-[a-f]$/],
    ] as const)
      expect((await complete('two', 'Hello', { structured_outputs: form })).choices[0].text).toMatch(wanted);
  });

  it('are calls of the tool that is asked for, or of any', async () => {
    const ask = { model: 'one', messages, tools, max_tokens: 100, temperature: 0 };
    const named = await client.chat.completions.create({ ...ask, tool_choice: { type: 'function', function: { name: 'tell' } } });
    const [call] = named.choices[0].message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
    expect(call.function.name).toBe('tell');
    expect(JSON.parse(call.function.arguments).yes).toBeTypeOf('boolean');
    const stream = await client.chat.completions.create({ ...ask, tool_choice: 'required', parallel_tool_calls: false, stream: true });
    let [text, reason] = ['', ''];
    const calls: OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall[] = [];
    for await (const { choices } of stream) {
      text += choices[0].delta.content ?? '';
      calls.push(...(choices[0].delta.tool_calls ?? []));
      reason = choices[0].finish_reason ?? reason;
    }
    if (reason === 'length') return expect(text).toMatch(/^\[\s*\{/);
    expect([text, calls.length, reason]).toEqual(['', 1, 'tool_calls']);
    expect(['ask', 'tell']).toContain(calls[0].function?.name);
    return undefined;
  });

  it('that a model writes of itself are found in its text', async () => {
    const written = '<tool_call>\n{"name": "ask", "arguments": {"yes": true}}\n</tool_call>';
    const ask = { model: 'tiny', messages, tools, structured_outputs: { choice: [written] }, max_tokens: 100 };
    const { choices } = await client.chat.completions.create(ask as OpenAI.ChatCompletionCreateParamsNonStreaming);
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
    const [call] = choices[0].message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
    expect(call).toMatchObject({ type: 'function', function: { name: 'ask', arguments: '{"yes":true}' } });
    const conversation = [...messages, choices[0].message, { role: 'tool' as const, tool_call_id: call.id, content: 'It is so.' }];
    const after = await client.chat.completions.create({ model: 'tiny', messages: conversation, tools, max_tokens: 4 });
    expect(after.choices[0].message.role).toBe('assistant');
  });
});

describe('models and adapters', () => {
  it('are listed with their parent', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id, parent }: any) => [id, parent])).toEqual([
      ['tiny', null],
      ['one', 'tiny'],
      ['two', 'tiny'],
    ]);
    expect((await client.models.retrieve('one')).id).toBe('one');
    await expect(client.models.retrieve('none')).rejects.toMatchObject({ status: 404 });
  });

  it('come and go, as in vLLM; one that answers is written to its end', async () => {
    const load = await post(server, '/v1/load_lora_adapter', { lora_name: 'three', lora_path: made.adapters.three });
    expect([load.status, await load.text()]).toEqual([200, "Success: LoRA adapter 'three' added successfully."]);
    expect((await post(server, '/v1/load_lora_adapter', { lora_name: 'three', lora_path: made.adapters.three })).status).toBe(400);
    const body = { model: 'three', prompt: 'Hello', max_tokens: 200, temperature: 0, ignore_eos: true };
    const stream = await client.completions.create({ ...body, stream: true });
    let [streamed, unloaded] = ['', false];
    for await (const { choices } of stream) {
      streamed += choices[0].text;
      if (unloaded) continue;
      unloaded = true;
      expect((await post(server, '/v1/unload_lora_adapter', { lora_name: 'three' })).status).toBe(200);
      expect((await post(server, '/v1/completions', body)).status).toBe(404);
    }
    expect(server.models).toEqual(['tiny', 'one', 'two']);
    expect((await post(server, '/v1/unload_lora_adapter', { lora_name: 'three' })).status).toBe(404);
    // What it wrote is what it writes undisturbed.
    await server.load_lora_adapter('three', made.adapters.three);
    const { choices } = await client.completions.create(body);
    server.unload_lora_adapter('three');
    expect(streamed).toBe(choices[0].text);
  });

  it('of a folder without an adapter are refused', async () => {
    const answer = await post(server, '/v1/load_lora_adapter', { lora_name: 'x', lora_path: made.folder });
    expect(answer.status).toBe(400);
    expect((await json(answer)).error.message).toContain('adapter_config.json');
  });
});

it('embeds texts by what is asked for', async () => {
  const { data } = await client.embeddings.create({ model: 'tiny', input: ['Hello', 'Good day'] });
  const plain = await client.embeddings.create({ model: 'tiny', input: 'Hello', encoding_format: 'float' });
  const few = await client.embeddings.create({ model: 'tiny', input: 'Hello', dimensions: 4, encoding_format: 'float' });
  const tf = await import('../../src/engine/tf');
  const ids = tokenizer.encode('Hello');
  const mean = tf.tidy(() =>
    tf.mean(tf.squeeze(made.model.hidden(tf.tensor2d([ids], [1, ids.length], 'int32')), [0]), 0).arraySync(),
  ) as number[];
  const length = Math.hypot(...mean);
  for (const [i, value] of mean.entries()) {
    expect(data[0].embedding[i]).toBeCloseTo(value / length, 5);
    expect(plain.data[0].embedding[i]).toBeCloseTo(value / length, 5);
  }
  expect(Math.hypot(...few.data[0].embedding)).toBeCloseTo(1, 5);
  expect(few.data[0].embedding).toHaveLength(4);
  const other = await client.embeddings.create({ model: 'one', input: 'Hello' });
  expect(other.data[0].embedding).not.toEqual(data[0].embedding);
});

describe('how texts become vectors', () => {
  const mean = { pooling_mode_mean_tokens: true, pooling_mode_cls_token: false };
  it.each<[string, string[], object, Pooling | null, object | RegExp]>([
    ['by the files', ['Transformer', 'Pooling', 'Normalize'], mean, null, { pooling: 'mean', normal: true }],
    [
      'by the files, of any length',
      ['Transformer', 'Pooling'],
      { pooling_mode: 'lasttoken' },
      null,
      { pooling: 'lasttoken', normal: false },
    ],
    ['by what is asked for', ['Transformer', 'Pooling', 'Normalize'], mean, 'cls', { pooling: 'cls', normal: true }],
    ['by what is not known', ['Transformer', 'Pooling'], { pooling_mode_max_tokens: true }, null, /max.*Set pooling/],
    [
      'by what is asked for in its place',
      ['Transformer', 'Pooling'],
      { pooling_mode_max_tokens: true },
      'mean',
      { pooling: 'mean', normal: false },
    ],
    [
      'by several, one behind the other',
      ['Transformer', 'Pooling'],
      { ...mean, pooling_mode_cls_token: true },
      null,
      /mean and cls.*Set pooling/,
    ],
    ['by a further layer', ['Transformer', 'Pooling', 'Dense', 'Normalize'], mean, null, /Dense.*Set pooling/],
    ['without that layer', ['Transformer', 'Pooling', 'Dense', 'Normalize'], mean, 'mean', { pooling: 'mean', normal: true }],
  ])('%s', async (_, parts, config, asked, wanted) => {
    const folder = await tinyLlama(1);
    const modules = parts.map((name, i) => ({ type: `sentence_transformers.models.${name}`, path: i ? `${i}_${name}` : '' }));
    writeFileSync(join(folder, 'modules.json'), JSON.stringify(modules));
    mkdirSync(join(folder, '1_Pooling'));
    writeFileSync(join(folder, '1_Pooling', 'config.json'), JSON.stringify(config));
    if (wanted instanceof RegExp) await expect(embedsOf(folder, asked)).rejects.toThrow(wanted);
    else expect(await embedsOf(folder, asked)).toEqual(wanted);
  });
});

describe('measure', () => {
  it('counts what a server writes, with as many clients as are asked for, as table and chart', async () => {
    const before = Number(/^tunebook_generation_tokens_total (\S+)/m.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1]);
    const found = await measure(server, { clients: [1, 3], requests: 2, max_tokens: 5 });
    const after = Number(/^tunebook_generation_tokens_total (\S+)/m.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1]);
    // One to begin with, then 2 of one client and 6 of three.
    expect(after - before).toBe(5 * (1 + 2 + 6));
    expect(found.model).toBe('tiny');
    expect(found.rows.map(({ clients }) => clients)).toEqual([1, 3]);
    for (const row of found.rows) {
      expect(row.tokens_per_second / row.requests_per_second).toBeCloseTo(5, 6);
      expect(row.first_token_ms).toBeGreaterThan(0);
      expect(row.peak_memory_mib).toBeGreaterThan(10);
    }
    const shown = await found[DISPLAY]();
    expect(shown['text/html']).toContain('tokens_per_second');
    expect(
      Buffer.from(shown['image/png'] as string, 'base64')
        .subarray(1, 4)
        .toString(),
    ).toBe('PNG');
  });

  it('says where nothing answers, or what was refused', async () => {
    await expect(measure('http://127.0.0.1:9')).rejects.toThrow(/does not answer/);
    await expect(measure(server, { model: 'none' })).rejects.toThrow(/404/);
    await expect(measure('127.0.0.1')).rejects.toThrow(OptionError);
    await expect(measure(server, { clients: [0] })).rejects.toThrow(/clients/);
    await expect(measure(server, { pid: 2 ** 30 })).rejects.toThrow(/no process 1073741824/);
  });
});

describe('what cannot be is refused', () => {
  const chat = { model: 'tiny', messages: [{ role: 'user', content: 'Hi' }] };
  it.each([
    ['an unknown field', '/v1/chat/completions', { ...chat, temprature: 1 }, 400, 'temprature'],
    ['another type', '/v1/chat/completions', { ...chat, temperature: 'hot' }, 400, 'temperature'],
    ['an unknown model', '/v1/chat/completions', { ...chat, model: 'gpt' }, 404, "'gpt'"],
    ['no JSON', '/v1/chat/completions', '{"model": ', 400, 'JSON'],
    ['no messages', '/v1/chat/completions', { model: 'tiny', messages: [] }, 400, 'messages'],
    ['a call of no tool', '/v1/chat/completions', { ...chat, tool_choice: 'required' }, 400, 'tool_choice'],
    [
      'a schema that cannot be',
      '/v1/completions',
      { model: 'tiny', prompt: 'x', structured_outputs: { json: { type: 'thing' } } },
      400,
      'thing',
    ],
    ['too long a prompt', '/v1/completions', { model: 'tiny', prompt: 'x'.repeat(600) }, 400, '512'],
    ['too long an answer', '/v1/completions', { model: 'tiny', prompt: 'x', max_tokens: 600 }, 400, '511'],
    ['a token that is not', '/v1/completions', { model: 'tiny', prompt: [1, 264] }, 400, '264'],
    ['an empty text', '/v1/completions', { model: 'tiny', prompt: '' }, 400, 'no tokens'],
    ['a path that is not', '/v1/images', {}, 404, '/v1/images'],
    ['more answers than are written at once', '/v1/chat/completions', { ...chat, n: 33 }, 400, 'n is 33'],
    ['more to choose from', '/v1/completions', { model: 'tiny', prompt: 'x', best_of: 33 }, 400, 'best_of is 33'],
    ...['chat_template', 'tokenize', 'tools', 'add_generation_prompt', 'continue_final_message', 'messages'].map(
      (name): [string, string, object, number, string] => [
        `${name} for a variable of the template`,
        '/v1/chat/completions',
        { ...chat, chat_template_kwargs: { [name]: name === 'chat_template' ? '{{ 1 }}' : false } },
        400,
        name,
      ],
    ),
    ['what is none either', '/v1/chat/completions', { ...chat, chat_template_kwargs: { padding: true } }, 400, 'padding'],
  ])('%s', async (_, path, body, status, named) => {
    const answer = await post(server, path, body);
    expect(answer.status).toBe(status);
    expect((await json(answer)).error.message).toContain(named);
  });

  it('another method, another kind of body, a large body', async () => {
    expect((await fetch(`${server.url}/v1/completions`)).status).toBe(405);
    expect((await post(server, '/v1/completions', 'x=1', { 'content-type': 'text/csv' })).status).toBe(415);
    expect((await post(server, '/v1/completions', { model: 'tiny', prompt: 'x'.repeat(5e6) })).status).toBe(413);
  });

  it.each([
    [{ model: undefined }, /needs a model/],
    [{ port: -1 }, /port/],
    [{ max_loras: 31 }, /max_loras/],
    [{ api_key: '' }, /api_key/],
    [{ tool_call_parser: 'x' }, /hermes/],
    [{ pooling: 'max' as never }, /mean/],
    [{ hots: 'x' } as never, /Did you mean host/],
    [{ adapters: { tiny: 'x' }, served_model_name: 'tiny' }, /own name/],
  ])('by serve: %j', async (options, message) => {
    const given = { model: made.model, ...(options as object) };
    await expect(serve(given)).rejects.toThrow(OptionError);
    await expect(serve(given)).rejects.toThrow(message);
  });
});

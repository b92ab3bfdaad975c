import { cpSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AutoModelForCausalLM, get_peft_model, LoraConfig, PeftModel, serve } from '../../src/index';
import { worn } from '../../src/peft/hold';
import { Parts } from '../../src/peft/parts';
import { Adapters } from '../../src/serve/adapters';
import type { Server } from '../../src/serve/serve';
import { Service } from '../../src/serve/service';
import { serveSettings } from '../../src/serve/settings';
import { scratch, TINY, tinyLlama, tinyTokenizer } from '../tiny';
import { expectedOf, load } from './load';
import { json, post, serveTiny, type Tiny, tiny } from './served';

let made: Tiny;
let server: Server;
beforeAll(async () => {
  made = await tiny();
  server = await serveTiny(made, { io_timeout: 2, max_num_seqs: 16 });
});
afterAll(() => server.close());

const idle = async () => {
  for (let i = 0; i < 400 && server.load.running + server.load.waiting; i++) await new Promise((resolve) => setTimeout(resolve, 25));
  expect(server.load).toEqual({ running: 0, waiting: 0 });
};
const figure = async (name: string) => {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^tunebook_${name} (\\S+)`, 'm').exec(text)?.[1]);
};
/** A request as bytes, for clients that are not as they should be. */
const raw = (body: object) => {
  const text = JSON.stringify(body);
  return `POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
};

it('every request of a crowd is answered as if it were alone, or refused', async () => {
  const expected = await expectedOf(made.model, made.adapters);
  const requests = Number(process.env.TUNEBOOK_REQUESTS ?? 110);
  const { statuses, wrong } = await load(server, expected, made.adapters.three, requests, 24);
  expect(wrong).toEqual([]);
  expect(Object.values(statuses).reduce((a, b) => a + b, 0)).toBe(requests);
  expect(Object.keys(statuses).filter((status) => /^5/.test(status))).toEqual([]);
  expect(statuses['400']).toBe(2 * Math.ceil(requests / 11));
  await idle();
});

it('a client that leaves, or does not read, is not written for', async () => {
  const body = { model: 'tiny', prompt: 'Hello', max_tokens: 500, n: 8, ignore_eos: true, stream: true };
  const before = await figure('generation_tokens_total');
  const leaving = new AbortController();
  const answer = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  await answer.body?.getReader().read();
  leaving.abort();
  await idle();
  expect((await figure('generation_tokens_total')) - before).toBeLessThan(8 * 500);
  // One that is there, but takes nothing: 15 MB do not fit between them.
  const gone = await figure('requests_cancelled_total');
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.pause();
  socket.write(raw({ ...body, n: 16, logprobs: 20 }));
  await new Promise((resolve) => setTimeout(resolve, 300));
  await idle();
  for (let i = 0; i < 200 && (await figure('requests_cancelled_total')) === gone; i++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await figure('requests_cancelled_total')).toBe(gone + 1);
  socket.destroy();
});

it('a client that leaves before its answer has begun is not written for either', async () => {
  const [before, gone] = [await figure('generation_tokens_total'), await figure('requests_cancelled_total')];
  const leaving = new AbortController();
  const ready = vi.spyOn(Adapters.prototype, 'ready').mockImplementationOnce(async () => {
    leaving.abort();
    await new Promise((resolve) => setTimeout(resolve, 100));
  });
  const body = JSON.stringify({ model: 'tiny', prompt: 'Hello', max_tokens: 400, ignore_eos: true });
  const headers = { 'content-type': 'application/json' };
  await expect(fetch(`${server.url}/v1/completions`, { method: 'POST', headers, body, signal: leaving.signal })).rejects.toThrow(/abort/);
  for (let i = 0; i < 100 && (await figure('requests_cancelled_total')) === gone; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  await idle();
  ready.mockRestore();
  expect(await figure('requests_cancelled_total')).toBe(gone + 1);
  expect((await figure('generation_tokens_total')) - before).toBeLessThan(400);
});

it('a request that does not arrive is not waited for', async () => {
  const socket = connect(server.port, '127.0.0.1');
  let said = '';
  socket.on('data', (data) => (said += data));
  socket.write(raw({ model: 'tiny', prompt: 'Hello' }).slice(0, -5));
  await new Promise((resolve) => socket.on('close', resolve));
  expect(said).toMatch(/^HTTP\/1.1 408|^$/);
});

describe('what there is no room or time for', () => {
  it('waits, then is refused by its status', async () => {
    const other = await serve({ model: made.model, port: 0, served_model_name: 'tiny', max_num_seqs: 1, max_num_waiting: 1 });
    const body = { model: 'tiny', prompt: 'Hello', max_tokens: 300, ignore_eos: true };
    const all = await Promise.all(Array.from({ length: 6 }, () => post(other, '/v1/completions', body)));
    const refused = all.filter(({ status }) => status === 503);
    expect(all.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0].headers.get('retry-after')).toBe('1');
    await other.close();
    const late = await serve({ model: made.model, port: 0, served_model_name: 'tiny', request_timeout: 0.05, max_num_seqs: 64 });
    const answer = await post(late, '/v1/completions', { ...body, max_tokens: 500, n: 64 });
    expect([answer.status, (await json(answer)).error.code]).toEqual([504, 'timeout']);
    await late.close();
  });
});

it.each<[string, object, number]>([
  ['32 bits', {}, 4],
  ['16 bits', { dtype: 'bfloat16' }, 2],
])('keys and values of a model of %s are counted as they are', async (_, options, bytes) => {
  const model = await AutoModelForCausalLM.from_pretrained(made.folder, { progress: false, ...options });
  const [layers, heads, width] = [TINY.num_hidden_layers, TINY.num_key_value_heads, TINY.hidden_size / TINY.num_attention_heads];
  const { batch, adapters } = new Service(model, tinyTokenizer(), 'tiny', serveSettings({ model, kv_cache_space: 1 / 1024 }));
  expect(batch.bounds.tokens).toBe(Math.floor(2 ** 20 / (layers * heads * width * 2 * bytes)));
  await adapters.close();
});

it('what there is never room for is refused; an answer of no said length has what there is', async () => {
  const [layers, heads, width] = [TINY.num_hidden_layers, TINY.num_key_value_heads, TINY.hidden_size / TINY.num_attention_heads];
  const room = 100;
  const other = await serve({
    ...{ model: made.model, port: 0, served_model_name: 'tiny', max_num_seqs: 4, max_num_waiting: 3 },
    kv_cache_space: (room * layers * heads * width * 2 * 4) / 2 ** 30,
  });
  const body = { model: 'tiny', prompt: 'Hello', ignore_eos: true };
  for (const [more, param, message] of [
    [{ max_tokens: 96 }, 'prompt', 'kv_cache_space'],
    [{ max_tokens: 32, n: 3 }, 'prompt', 'kv_cache_space'],
    [{ prompt: 'x'.repeat(100), max_tokens: 1 }, 'prompt', 'kv_cache_space'],
    [{ n: 5 }, 'n', 'max_num_seqs'],
    [{ best_of: 5 }, 'best_of', 'max_num_seqs'],
    [{ prompt: ['a', 'b', 'c', 'd'] }, 'prompt', 'max_num_waiting'],
    [{ prompt: '' }, 'prompt', 'no tokens'],
    [{ prompt: 'x'.repeat(600) }, 'prompt', 'context length'],
  ] as const) {
    const answer = await post(other, '/v1/completions', { ...body, ...more });
    const { error } = await json(answer);
    expect([more, answer.status, error.param, error.message]).toEqual([more, 400, param, expect.stringContaining(message)]);
  }
  expect((await post(other, '/v1/completions', { ...body, max_tokens: 95 })).status).toBe(200);
  const messages = [{ role: 'user', content: 'Hi' }];
  const { usage } = await json(post(other, '/v1/chat/completions', { model: 'tiny', messages, n: 2, ignore_eos: true }));
  expect(usage.completion_tokens).toBe(2 * Math.floor((room - usage.prompt_tokens) / 2));
  await other.close();
});

it('a server that closes writes what it has begun, and takes no more', async () => {
  const other = await serve({ model: made.model, port: 0, served_model_name: 'tiny', shutdown_timeout: 20 });
  const body = { model: 'tiny', prompt: 'Hello', max_tokens: 200, ignore_eos: true, stream: true };
  const answer = await post(other, '/v1/completions', body);
  const [closed, text] = [other.close(), answer.text()];
  await expect(post(other, '/v1/completions', body).then(({ status }) => Promise.reject(new Error(`${status}`)))).rejects.toThrow(
    /fetch failed|503/,
  );
  expect(await text).toContain('data: [DONE]');
  await closed;
});

it('an owner who puts other adapters on the model takes none from the server', async () => {
  const ask = { model: 'one', prompt: 'Hello', max_tokens: 8, temperature: 0 };
  const before = (await json(post(server, '/v1/completions', ask))).choices[0].text;
  const peft = get_peft_model(made.model, new LoraConfig({ r: 2, target_modules: ['q_proj'], init_lora_weights: false }));
  expect((await json(post(server, '/v1/completions', ask))).choices[0].text).toBe(before);
  expect(server.models).toEqual(['tiny', 'one', 'two', 'default']);
  expect(peft.active_adapters).toEqual(['default']);
});

describe('adapters', () => {
  const ask = { prompt: 'Hello', max_tokens: 8, temperature: 0 };
  const said = async (of: Server, name: string) => (await json(post(of, '/v1/completions', { ...ask, model: name }))).choices?.[0].text;
  const own = () => new LoraConfig({ r: 2, target_modules: ['q_proj'], init_lora_weights: false });
  const fresh = () => AutoModelForCausalLM.from_pretrained(made.folder, { progress: false });

  it('that their owner deletes fail for their own requests alone', async () => {
    const peft = get_peft_model(await fresh(), own());
    peft.add_adapter('other', own());
    const other = await serve({ model: peft, port: 0, served_model_name: 'tiny', pooling: 'mean' });
    const before = await said(other, 'other');
    const long = { model: 'default', prompt: 'Hello', max_tokens: 300, ignore_eos: true };
    const [running, base] = [post(other, '/v1/completions', long), post(other, '/v1/completions', { ...long, model: 'tiny' })];
    for (let i = 0; i < 400 && other.load.running < 2; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    // One waits that is not there any more when it is its turn.
    const late = post(other, '/v1/completions', { ...long, model: 'default', n: 31 });
    for (let i = 0; i < 400 && !other.load.waiting; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(other.load.waiting).toBe(31);
    peft.delete_adapter('default');
    expect((await Promise.all([running, base])).map(({ status }) => status)).toEqual([200, 200]);
    const answer = await late;
    expect([answer.status, (await json(answer)).error.code]).toEqual([404, 'model_not_found']);
    expect(other.models).toEqual(['tiny', 'other']);
    expect((await post(other, '/v1/completions', { ...ask, model: 'default' })).status).toBe(404);
    expect((await post(other, '/v1/embeddings', { model: 'default', input: 'x' })).status).toBe(404);
    expect(await said(other, 'other')).toBe(before);
    await other.close();
  });

  it('that bring matrices of the base model are refused, and change nothing', async () => {
    const strange = await AutoModelForCausalLM.from_pretrained(await tinyLlama(2), { progress: false });
    const folder = join(scratch('served'), 'brings');
    await get_peft_model(strange, own()).save_pretrained(folder, { save_embedding_layers: true });
    const before = await said(server, 'one');
    const answer = await post(server, '/v1/load_lora_adapter', { lora_name: 'brings', lora_path: folder });
    expect([answer.status, (await json(answer)).error.message]).toEqual([400, expect.stringMatching(/embed_tokens.*[Mm]erge it first/s)]);
    expect(await said(server, 'one')).toBe(before);
    // By its owner before and meanwhile.
    const model = await fresh();
    const peft = await PeftModel.from_pretrained(model, folder);
    expect(peft.brought).toContain('model.embed_tokens.weight');
    await expect(serve({ model: peft, port: 0 })).rejects.toThrow(/embed_tokens.*Merge it first/s);
    peft.unload();
    const other = await serve({ model, port: 0, served_model_name: 'tiny' });
    await expect(PeftModel.from_pretrained(model, folder)).rejects.toThrow(/embed_tokens.*Merge it first/s);
    await other.close();
    expect((await PeftModel.from_pretrained(model, folder)).brought).toContain('model.embed_tokens.weight');
  });

  it('that are unloaded while they make vectors make them all', async () => {
    const other = await serve({
      model: await fresh(),
      port: 0,
      served_model_name: 'tiny',
      pooling: 'mean',
      adapters: { one: made.adapters.one },
    });
    const ask = { model: 'one', input: ['a', 'b', 'c'] };
    const before = (await json(post(other, '/v1/embeddings', ask))).data;
    const { wearing } = Adapters.prototype;
    const worn = vi.spyOn(Adapters.prototype, 'wearing').mockImplementation(function (this: Adapters, adapter, f) {
      if (other.models.includes('one')) other.unload_lora_adapter('one');
      return wearing.call(this, adapter, f);
    } as typeof wearing);
    const answer = await post(other, '/v1/embeddings', ask);
    worn.mockRestore();
    expect([answer.status, (await json(answer)).data]).toEqual([200, before]);
    expect((await post(other, '/v1/embeddings', ask)).status).toBe(404);
    await other.close();
  });

  it('that cannot be put back are dropped, the others stay', async () => {
    const model = await fresh();
    const copy = join(scratch('served'), 'copy');
    cpSync(made.adapters.one, copy, { recursive: true });
    const other = await serve({ model, port: 0, served_model_name: 'tiny', adapters: { copy, two: made.adapters.two } });
    const before = await said(other, 'two');
    rmSync(copy, { recursive: true });
    get_peft_model(model, own());
    expect(await said(other, 'two')).toBe(before);
    expect(other.models).toEqual(['tiny', 'two', 'default']);
    expect((await post(other, '/v1/completions', { ...ask, model: 'copy' })).status).toBe(404);
    expect((await post(other, '/v1/load_lora_adapter', { lora_name: 'copy', lora_path: made.adapters.one })).status).toBe(200);
    await other.close();
  });

  it('are never active on the model by being loaded', async () => {
    const model = await fresh();
    const other = await serve({ model, port: 0, served_model_name: 'tiny' });
    const activate = vi.spyOn(Parts.prototype, 'activate');
    await other.load_lora_adapter('one', made.adapters.one);
    await other.load_lora_adapter('two', made.adapters.two);
    expect(activate.mock.calls.flat(2)).toEqual([]);
    activate.mockRestore();
    expect(worn.get(model)?.active_adapters).toEqual([]);
    await other.close();
  });

  it('that are loaded while the server closes are off the model when it has', async () => {
    const model = await fresh();
    const other = await serve({ model, port: 0, served_model_name: 'tiny' });
    const loaded = other.load_lora_adapter('one', made.adapters.one);
    await other.close();
    await loaded;
    expect(Object.keys((worn.get(model) as PeftModel | undefined)?.peft_config ?? {})).toEqual([]);
    await expect(other.load_lora_adapter('two', made.adapters.two)).rejects.toThrow(/closing/);
  });
});

it('asks for the key it was given, and lets clients change nothing where they may not', async () => {
  const other = await serve({
    model: made.model,
    port: 0,
    served_model_name: 'tiny',
    api_key: 'secret',
    allow_runtime_lora_updating: false,
  });
  const ask = { model: 'tiny', prompt: 'Hello', max_tokens: 1 };
  const status = async (headers?: Record<string, string>, path = '/v1/completions', body: object = ask) =>
    (await post(other, path, body, headers)).status;
  expect(await status()).toBe(401);
  expect(await status({ authorization: 'Bearer secre' })).toBe(401);
  expect(await status({ authorization: 'Bearer secret' })).toBe(200);
  expect(await status({ authorization: 'Bearer secret' }, '/v1/unload_lora_adapter', { lora_name: 'x' })).toBe(403);
  // However a path is written, and whether it is there.
  const paths = ['/v1/models', '/%761/models', '/v1/%6dodels', '/v1/models/tiny', '/%2Fv1/models', '/none', '/Health', '/health/', '/docs'];
  for (const [path, wanted] of [
    ...paths.flatMap((path) => [path, `http://x${path}`, `${path}?/health`]).map((path) => [path, 401] as const),
    ...['/health', '/metrics', '/openapi.json', '/%68ealth', 'http://x/health'].map((path) => [path, 200] as const),
  ])
    expect([path, await asked(other, path)]).toEqual([path, wanted]);
  await other.close();
});

/** The status of a request for a path as it is written, by a server of a name. */
const asked = (of: Server, path: string, host = 'localhost') =>
  new Promise<number | undefined>((resolve, reject) => {
    const sent = request({ port: of.port, host: '127.0.0.1', path, headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    sent.on('error', reject).end();
  });

it.each([
  ['localhost', 200],
  ['localhost:8000', 200],
  ['LOCALHOST', 200],
  ['127.0.0.1:1', 200],
  ['[::1]:8000', 200],
  ['example.com', 403],
  ['example.com:8000', 403],
  ['127.0.0.1.example.com', 403],
  ['localhost.example.com', 403],
  ['x', 403],
])('a server of this machine without keys answers to its own names: %j: %d', async (host, status) => {
  for (const path of ['/health', '/v1/models', 'http://localhost/v1/models']) expect(await asked(server, path, host)).toBe(status);
});

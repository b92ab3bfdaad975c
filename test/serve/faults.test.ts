import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { get_peft_model, LoraConfig, serve } from '../../src/index';
import type { Server } from '../../src/serve/serve';
import { expectedOf, load } from './load';
import { json, post, serveTiny, type Tiny, tiny } from './served';

let made: Tiny;
let server: Server;
beforeAll(async () => {
  made = await tiny();
  server = await serveTiny(made, { io_timeout: 2, max_num_seqs: 8 });
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
  return `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
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
    const late = await serve({ model: made.model, port: 0, served_model_name: 'tiny', request_timeout: 0.05 });
    const answer = await post(late, '/v1/completions', { ...body, max_tokens: 500, n: 64 });
    expect([answer.status, (await json(answer)).error.code]).toEqual([504, 'timeout']);
    await late.close();
  });
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
  expect((await fetch(`${other.url}/health`)).status).toBe(200);
  await other.close();
});

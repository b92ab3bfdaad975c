import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Server } from '../../src/serve/serve';
import { json, post, serveTiny, type Tiny, tiny } from '../serve/served';
import { scratch } from '../tiny';

const venv = (program: string) => resolve(__dirname, '../../.venv-test/bin', program);
const env = {
  ...process.env,
  OPENAI_API_KEY: 'secret',
  HF_HUB_OFFLINE: '1',
  HF_DATASETS_OFFLINE: '1',
  TOKENIZERS_PARALLELISM: 'false',
  NO_COLOR: '1',
};

/** Runs a program while this process answers it. */
async function run(program: string, args: string[]): Promise<{ code: number | null; said: string }> {
  const child = spawn(venv(program), args, { env, cwd: scratch('client') });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data));
  return new Promise((done) => child.on('close', (code) => done({ code, said })));
}

async function client<T>(task: string, given: object): Promise<T> {
  const folder = scratch('client');
  const [from, to] = [join(folder, 'in.json'), join(folder, 'out.json')];
  writeFileSync(from, JSON.stringify(given));
  const { code, said } = await run('python', [resolve(__dirname, '../serve_peer.py'), task, from, to]);
  if (code !== 0) throw new Error(`serve_peer.py ${task} failed:\n${said.slice(-4000)}`);
  return JSON.parse(readFileSync(to, 'utf8'));
}

let made: Tiny;
let server: Server;
const key = { authorization: 'Bearer secret' };
beforeAll(async () => {
  made = await tiny();
  server = await serveTiny(made, { pooling: 'lasttoken', api_key: ['other', 'secret'] });
});
afterAll(() => server.close());

it("the openai package's client reads what ours says", async () => {
  const messages = [{ role: 'user', content: 'Hi!' }];
  const theirs = await client<Record<string, any>>('openai_client', { url: server.url, key: 'secret', model: 'one', messages });
  const chat = await json(post(server, '/v1/chat/completions', { model: 'one', messages, temperature: 0, max_tokens: 12 }, key));
  const text = await json(
    post(server, '/v1/completions', { model: 'one', prompt: 'Hello', temperature: 0, max_tokens: 8, echo: true, logprobs: 2 }, key),
  );
  const vectors = await json(post(server, '/v1/embeddings', { model: 'one', input: ['Hello', 'Good day'] }, key));
  expect(theirs).toMatchObject({
    ...{ chat: chat.choices[0].message.content, streamed: chat.choices[0].message.content, usage: true },
    ...{ completion: text.choices[0].text, several: [0, 1, 2, 3], models: ['tiny', 'one', 'two'] },
    wrong: ['NotFoundError', 'BadRequestError', 'AuthenticationError'],
  });
  expect(theirs.logprobs).toHaveLength(text.choices[0].logprobs.tokens.length);
  for (const [i, vector] of vectors.data.entries())
    for (const [j, value] of vector.embedding.entries()) expect(theirs.vectors[i][j]).toBeCloseTo(value, 6);
});

it('lm_eval scores our server as it scores its own hf backend', async () => {
  const words = ['red', 'blue', 'green', 'a longer answer', 'x', 'nine', 'the sea', 'to go'];
  const rows = Array.from({ length: 8 }, (_, i) => ({
    question: `What is number ${i}, ${words[(i * 3) % 8]}?`,
    choices: [0, 1, 2, 3].map((j) => words[(i + j * 3) % 8]),
    answer: i % 4,
  }));
  const open = await serveTiny(made);
  const found = await client<any>('harness', { rows, folder: made.folder, url: open.url, model: 'tiny' });
  await open.close();
  const { hf, ours } = found;
  expect(ours.results).toEqual(hf.results);
  expect(ours.samples.local_written).toEqual(hf.samples.local_written);
  for (const [i, choices] of hf.samples.local_choices.entries())
    for (const [j, [logprob, greedy]] of choices.entries()) {
      const [value, isGreedy] = ours.samples.local_choices[i][j];
      expect(Number(value)).toBeCloseTo(Number(logprob), 2);
      expect(String(isGreedy)).toBe(String(greedy));
    }
});

it('schemathesis finds no fault by our OpenAPI document, and the server goes on', async () => {
  const examples = process.env.TUNEBOOK_MALFORMED ?? '12';
  // What the schema allows may still be too long for the model, or name what there is not: 400 is right then.
  const { code, said } = await run('schemathesis', [
    ...['run', `${server.url}/openapi.json`, '-H', 'Authorization: Bearer secret', '--max-examples', examples, '--seed', '1'],
    ...[
      '--phases',
      'coverage,fuzzing',
      '--mode',
      'all',
      '--workers',
      '2',
      '--request-timeout',
      '60',
      '--exclude-checks',
      'positive_data_acceptance',
    ],
  ]);
  expect(code, said.slice(-6000)).toBe(0);
  expect(server.load).toEqual({ running: 0, waiting: 0 });
  const { choices } = await json(post(server, '/v1/completions', { model: 'tiny', prompt: 'Hello', max_tokens: 2 }, key));
  expect(choices).toHaveLength(1);
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { take } from '../../src/engine/backend';
import * as tf from '../../src/engine/tf';
import { RETRY } from '../../src/hub/settings';
import { forgetCommits } from '../../src/hub/shelf';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, load_dataset } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { Tokenizer } from '../../src/tokenizers/tokenizer';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { HubServer, sha256 } from './hub_server';

let server: HubServer;
let home: string;
let model: CausalLM;
let tokenizer: Tokenizer;
let folder: string;

beforeAll(async () => {
  server = await new HubServer().start();
  Object.assign(RETRY, { first: 5, longest: 20 });
  folder = await tinyLlama();
  await (await tinyTokenizer()).save_pretrained(folder);
  [model, tokenizer] = [
    await AutoModelForCausalLM.from_pretrained(folder, { progress: false }),
    await AutoTokenizer.from_pretrained(folder),
  ];
});
afterAll(() => server.stop());
beforeEach(() => {
  home = scratch('push');
  server.clear();
  server.chunk = 5 * 2 ** 20;
  forgetCommits();
  for (const name of ['HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_TOKEN_PATH']) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: server.url, HF_HOME: home, HF_TOKEN: 'hf_good' });
});
/** Of the last token. */
const _logits = (one: CausalLM, ids: number[]) =>
  take(
    tf.tidy(() => {
      const all = one.forward(tf.tensor2d([ids], [1, ids.length], 'int32'));
      return tf.reshape(tf.slice(all, [0, ids.length - 1, 0], [1, 1, -1]), [-1]);
    }),
  );
const _env = () => ({ HF_ENDPOINT: server.url, HF_HOME: join(home, 'python'), HF_TOKEN: 'hf_good' });
const repo = (key = 'models/me/tiny') => server.repos.get(key);
const names = (key = 'models/me/tiny', revision = 'main') => [...server.files(key, revision).keys()].sort();

describe('what is pushed', () => {
  it('rows are a data set here and there', async () => {
    const rows = [
      { question: 'a "b"\n', answer: 'ü' },
      { question: 'c', answer: null },
    ];
    await Dataset.from_list(rows).push_to_hub('me/rows');
    await Dataset.from_list(rows.slice(1)).push_to_hub('me/rows', { split: 'test' });
    expect(names('datasets/me/rows')).toEqual(['.gitattributes', 'README.md', 'data/test.jsonl', 'data/train.jsonl']);
    const { train, test } = await load_dataset('me/rows');
    expect([[...train], [...test]]).toEqual([rows, rows.slice(1)]);
    expect((await load_dataset('me/rows', { split: 'test', revision: 'main' })).length).toBe(1);
    await expect(load_dataset('me/rows', { split: 'dev' })).rejects.toThrow(/has no split 'dev'; it has train, test|test, train/);
    await expect(load_dataset('me/nothing')).rejects.toThrow(/No data set 'me\/nothing' was found/);
    await expect(async () => Dataset.from_list(rows).push_to_hub('me/rows', { split: 'all' })).rejects.toThrow(/it can be 'train'/);
  });

  it('large files go in parts, the token stays with the Hub, and what is there is not sent again', async () => {
    server.chunk = 10_000;
    await model.push_to_hub('me/tiny');
    const puts = server.cdn.log.filter(({ method }) => method === 'PUT');
    const bytes = server.files('models/me/tiny').get('model.safetensors') as Buffer;
    expect(puts).toHaveLength(Math.ceil(bytes.length / 10_000));
    expect(server.cdn.log.every(({ authorization }) => authorization === undefined)).toBe(true);
    const saved = scratch();
    await model.save_pretrained(saved);
    expect(sha256(bytes)).toBe(sha256(readFileSync(join(saved, 'model.safetensors'))));
    server.forget();
    expect(await model.push_to_hub('me/tiny')).toEqual({ repo_url: `${server.url}/me/tiny` });
    expect(server.log.filter(({ method, url }) => method === 'PUT' || url.includes('/commit/'))).toEqual([]);
  });

  it('a branch, a pull request', async () => {
    await tokenizer.push_to_hub('me/tiny');
    await model.push_to_hub('me/tiny', { revision: 'dev' });
    expect(names('models/me/tiny', 'dev')).toContain('model.safetensors');
    expect(names()).not.toContain('model.safetensors');
    const { pr_url } = await model.push_to_hub('me/tiny', { create_pr: true });
    expect(pr_url).toBe(`${server.url}/me/tiny/discussions/1`);
    expect(names()).not.toContain('model.safetensors');
    expect((await AutoModelForCausalLM.from_pretrained('me/tiny', { revision: 'refs/pr/1', progress: false })).numParameters()).toBe(
      model.numParameters(),
    );
  });

  it('a card that a person wrote stays; ours is written anew', async () => {
    await model.push_to_hub('me/tiny');
    const ours = server.files('models/me/tiny').get('README.md')?.toString() as string;
    expect(ours).toContain('library_name: transformers');
    server.put('models/me/tiny', { 'README.md': `${ours}more` });
    await model.push_to_hub('me/tiny');
    expect(server.files('models/me/tiny').get('README.md')?.toString()).toBe(ours);
    server.put('models/me/tiny', { 'README.md': 'by hand' });
    await model.push_to_hub('me/tiny');
    expect(server.files('models/me/tiny').get('README.md')?.toString()).toBe('by hand');
  });
});

describe('what goes wrong', () => {
  it.each([
    ['at once', 5 * 2 ** 20],
    ['in parts', 10_000],
  ])('connections that break while a large file goes up %s', async (_, chunk) => {
    server.chunk = chunk;
    let cuts = 0;
    server.fault = ({ method }) => (method === 'PUT' && cuts++ < 3 ? { cut: 0 } : undefined);
    await model.push_to_hub('me/tiny');
    expect(cuts).toBeGreaterThan(3);
    const saved = scratch();
    await model.save_pretrained(saved);
    expect(sha256(server.files('models/me/tiny').get('model.safetensors') as Buffer)).toBe(
      sha256(readFileSync(join(saved, 'model.safetensors'))),
    );
  });

  it('storage and Hub that fail for a moment', async () => {
    let failures = 0;
    server.fault = ({ url, method }, n) =>
      (method === 'PUT' || /preupload|batch|create$/.test(url)) && n === 1 && failures++ < 9 ? { status: 503 } : undefined;
    await model.push_to_hub('me/tiny');
    expect(failures).toBe(4);
    expect(names()).toContain('model.safetensors');
  });

  it.each([
    ['no token', {}, () => delete process.env.HF_TOKEN, /needs a token with the right to write.*HF_TOKEN/],
    [
      'a token that is none',
      { token: 'hf_bad' },
      () => {},
      /may not be written to. The token is that of the option token|does not know the token/,
    ],
    ['another account', {}, () => {}, /'other\/tiny' may not be written to.*You don't have the rights/],
    ['no network', {}, () => Object.assign(process.env, { HF_HUB_OFFLINE: '1' }), /HF_HUB_OFFLINE is set/],
    [
      'a broken storage',
      {},
      () => {
        server.fault = ({ method }) => (method === 'PUT' ? { status: 500 } : undefined);
      },
      /may not|model.safetensors could not be uploaded: the storage answered with status 500/,
    ],
    [
      'a commit that is refused',
      {},
      () => {
        server.fault = ({ url }) =>
          url.includes('/commit/') ? { status: 412, body: '{"error":"A commit has happened since."}' } : undefined;
      },
      /answered with status 412.*A commit has happened since/,
    ],
    ['names', { commit_message: ' ' }, () => {}, /commit_message is ' '/],
    ['an option', { comit_message: 'x' }, () => {}, /has no option comit_message.*Did you mean commit_message/],
    ['a value', { private: 'yes' }, () => {}, /private is 'yes'; it can be true, false or null/],
  ])('%s', async (what, options, prepare, message) => {
    prepare();
    const before = repo()?.commits.size;
    await expect(
      model.push_to_hub(what === 'another account' ? 'other/tiny' : 'me/tiny', options as Record<string, never>),
    ).rejects.toThrow(message as RegExp);
    expect(names().filter((name) => name.endsWith('.safetensors'))).toEqual([]);
    expect(before).toBeUndefined();
  });

  it.each(['', 'a/b/c', '../x', 'a--b', 'x.git'])('the name %j', async (name) => {
    await expect(model.push_to_hub(name)).rejects.toThrow(/is no name of a repository/);
  });
});

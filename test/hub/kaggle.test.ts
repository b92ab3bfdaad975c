import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { resolveModel, resolveTokenizer } from '../../src/hub/resolve';
import { RANGES, RETRY } from '../../src/hub/settings';
import { scratch } from '../tiny';
import { KaggleServer } from './kaggle_server';

let server: KaggleServer;
let home: string;
const weights = Buffer.alloc(2 ** 20 + 5, 'llama');
const NAME = 'kaggle://metaresearch/llama-2/transformers/7b-hf';
const KEY = 'metaresearch/llama-2/MODEL_FRAMEWORK_TRANSFORMERS/7b-hf';
const before = { HOME: process.env.HOME };

beforeAll(async () => {
  server = await new KaggleServer().start();
  Object.assign(RETRY, { first: 5, longest: 20 });
  Object.assign(RANGES, { least: 2 ** 18 });
});
afterAll(() => {
  server.stop();
  process.env.HOME = before.HOME;
});
beforeEach(() => {
  home = scratch('kaggle');
  server.fault = undefined;
  server.forget();
  const files = {
    'config.json': Buffer.from('{}'),
    'model.safetensors': weights,
    'tokenizer.json': Buffer.from('{"t":1}'),
    'pytorch_model.bin': Buffer.from('pickle'),
  };
  server.models.clear();
  server.models.set(KEY, [{ 'config.json': Buffer.from('{"old":1}'), 'model.safetensors': Buffer.from('old') }, files]);
  for (const name of ['KAGGLE_API_TOKEN', 'KAGGLE_USERNAME', 'KAGGLE_KEY', 'KAGGLE_CONFIG_DIR', 'HF_HUB_OFFLINE']) delete process.env[name];
  Object.assign(process.env, {
    HOME: home,
    KAGGLEHUB_CACHE: join(home, 'cache'),
    KAGGLE_API_ENDPOINT: server.api.url,
    KAGGLE_USERNAME: 'me',
    KAGGLE_KEY: 'kgl',
  });
});
const folder = (version = 2) => join(home, 'cache', 'models', 'metaresearch', 'llama-2', 'transformers', '7b-hf', String(version));
const fetched = () => new Set(server.storage.log.map(({ url }) => decodeURIComponent(url.split('/').at(-1)?.split('?')[0] as string)));

describe('a model on Kaggle', () => {
  it('comes with the files that are needed, the newest version where none is named, and stays in kagglehub’s cache', async () => {
    server.page = 2;
    const found = await resolveModel(NAME);
    server.page = 100;
    expect(found).toEqual({ name: NAME, path: folder(), kind: 'folder' });
    expect(readdirSync(folder()).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(readFileSync(join(folder(), 'model.safetensors')).equals(weights)).toBe(true);
    expect(existsSync(join(folder(), '..', '.complete', '2', 'model.safetensors.complete'))).toBe(true);
    expect(fetched()).toEqual(new Set(['config.json', 'model.safetensors']));
    expect(server.storage.log.every(({ authorization }) => authorization === undefined)).toBe(true);
    server.forget();
    await resolveModel(NAME);
    expect(server.storage.log).toEqual([]);
    expect((await resolveTokenizer(`${NAME}/2`)).path).toBe(folder());
    expect(fetched()).toEqual(new Set(['tokenizer.json']));
    server.forget();
    process.env.HF_HUB_OFFLINE = '1';
    expect((await resolveModel(NAME)).path).toBe(folder());
    expect(server.api.log).toEqual([]);
    delete process.env.HF_HUB_OFFLINE;
    expect(readFileSync(join((await resolveModel(`${NAME}/1`)).path, 'model.safetensors'), 'utf8')).toBe('old');
  });

  it.each([
    ['cut connections', 'cut', { cut: 50_000 }],
    ['wrong bytes', 'flip', { flip: 7 }],
  ])('survives %s once', async (_, kind, mishap) => {
    let hits = 0;
    // The first answer is only looked at for its headers.
    server.fault = ({ url }) =>
      url.includes('model.safetensors') && hits++ > 0 && hits < 5 && (kind === 'cut' || hits === 2)
        ? (mishap as { cut: number })
        : undefined;
    expect(readFileSync(join((await resolveModel(NAME)).path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(hits).toBeGreaterThan(2);
  });

  it('wrong bytes for ever are refused', async () => {
    server.fault = ({ url }) => (url.includes('model.safetensors') ? { flip: 7 } : undefined);
    await expect(resolveModel(NAME)).rejects.toThrow(/llama-2\/model.safetensors came with wrong bytes twice/);
    expect(existsSync(join(folder(), 'model.safetensors'))).toBe(false);
  });
});

describe('credentials', () => {
  const none = () => {
    delete process.env.KAGGLE_USERNAME;
    delete process.env.KAGGLE_KEY;
  };
  const save = (name: string, text: string) => {
    mkdirSync(join(home, '.kaggle'), { recursive: true });
    writeFileSync(join(home, '.kaggle', name), text);
  };
  it.each([
    ['KAGGLE_API_TOKEN', () => Object.assign(process.env, { KAGGLE_API_TOKEN: 'KGAT_good' })],
    [
      'a file that KAGGLE_API_TOKEN names',
      () => Object.assign(process.env, { KAGGLE_API_TOKEN: join(home, 't') }, void writeFileSync(join(home, 't'), 'KGAT_good\n')),
    ],
    ['~/.kaggle/access_token', () => save('access_token', 'KGAT_good\n')],
    ['~/.kaggle/kaggle.json', () => save('kaggle.json', '{"username":"me","key":"kgl"}')],
  ])('of %s', async (_, prepare) => {
    none();
    prepare();
    expect((await resolveModel(NAME)).kind).toBe('folder');
  });

  it.each([
    [
      'none',
      () => {},
      /Kaggle gives https:\/\/www.kaggle.com\/models\/metaresearch\/llama-2 to those who are logged in.*KAGGLE_API_TOKEN.*accept the terms/,
    ],
    [
      'wrong ones',
      () => Object.assign(process.env, { KAGGLE_API_TOKEN: 'KGAT_bad' }),
      /does not give .* to the account of KAGGLE_API_TOKEN.*accept the model's terms.*Kaggle says: "Permission denied"/,
    ],
    ['a damaged file', () => save('kaggle.json', '{"user'), /kaggle.json is no credentials file of Kaggle.*Make an API token/],
  ])('%s', async (_, prepare, message) => {
    none();
    prepare();
    await expect(resolveModel(NAME)).rejects.toThrow(message);
  });
});

it.each([
  ['kaggle://a/b/c', {}, /is no address of a model on Kaggle: it is kaggle:\/\/owner\/model\/framework\/variation/],
  ['kaggle://a/b/transformers/d/x', {}, /is no address/],
  ['kaggle://a/../transformers/d', {}, /is no address/],
  ['kaggle://a/b/tensorflow9/d', {}, /Kaggle has no framework 'tensorflow9'/],
  [`${NAME}/9`, {}, /Kaggle has no kaggle:\/\/metaresearch\/llama-2\/transformers\/7b-hf\/9/],
  [NAME, { revision: 'main' }, /revision, cache_dir and token are the Hugging Face Hub's/],
  [NAME, { local_files_only: true }, /is not in Kaggle's cache/],
])('%s with %j', async (name, options, message) => {
  await expect(resolveModel(name, options)).rejects.toThrow(message);
});

it('a file whose name leads out of the folder', async () => {
  server.models.set(KEY, [{ '../../evil': Buffer.from('x') }]);
  await expect(resolveModel(NAME)).rejects.toThrow(/leads out of its folder. Nothing of it was fetched/);
});

import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { on } from '../../src/core/events';
import { resolveModel } from '../../src/hub/resolve';
import { RANGES, RETRY } from '../../src/hub/settings';
import { forgetCommits } from '../../src/hub/shelf';
import { scratch } from '../tiny';
import { blobId, HubServer, sha256 } from './hub_server';
import { Served } from './served';

let server: HubServer;
let cache: string;
const progress: string[] = [];
on('progress', ({ text }) => progress.push(text));

const config = JSON.stringify({ model_type: 'llama' });
/** Bytes that no block of them is like another. */
const noise = (length: number) => {
  const bytes = Buffer.alloc(length);
  let x = 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    bytes[i] = x >> 16;
  }
  return bytes;
};
const weights = noise(1_300_017);

beforeAll(async () => {
  server = await new HubServer().start();
  Object.assign(RETRY, { first: 5, longest: 20 });
  Object.assign(RANGES, { least: 2 ** 18 });
});
afterAll(() => server.stop());
beforeEach(() => {
  cache = scratch('hub');
  progress.length = 0;
  server.clear();
  forgetCommits();
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_HUB_DOWNLOAD_TIMEOUT']) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: server.url, HF_HOME: cache });
  server.put('models/org/tiny', {
    'config.json': config,
    'README.md': 'card',
    'generation_config.json': '{}',
    'model.safetensors': weights,
    'pytorch_model.bin': 'a pickle',
    'tokenizer.json': '{}',
  });
});

const hub = () => join(cache, 'hub');
const folder = () => join(hub(), 'models--org--tiny');
const load = (options = {}) => resolveModel('org/tiny', options);
const fetched = () => server.hub.log.filter(({ url }) => url.includes('/resolve/')).map(({ url }) => url.split('/').at(-1));
const onBlob = (url: string) => url.startsWith('/blob/');

describe('the cache', () => {
  it('is laid out as Python does it, with the files that are needed and no others', async () => {
    const { path, kind } = await load();
    const commit = server.repos.get('models/org/tiny')?.refs.get('main') as string;
    expect(kind).toBe('folder');
    expect(path).toBe(join(folder(), 'snapshots', commit));
    expect(readdirSync(path).sort()).toEqual(['config.json', 'generation_config.json', 'model.safetensors']);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readlinkSync(join(path, 'model.safetensors'))).toBe(`../../blobs/${sha256(weights)}`);
    expect(readlinkSync(join(path, 'config.json'))).toBe(`../../blobs/${blobId(Buffer.from(config))}`);
    expect(readdirSync(join(folder(), 'blobs')).every((name) => /^[0-9a-f]{40,64}$/.test(name))).toBe(true);
    expect(readFileSync(join(folder(), 'refs', 'main'), 'utf8')).toBe(commit);
    expect(new Set(fetched())).toEqual(new Set(['config.json', 'generation_config.json', 'model.safetensors']));
    expect(progress.at(-1)).toMatch(/Downloaded org\/tiny: 1.3 MB/);
  });

  it('serves a second load without asking for a file, and with no network at all', async () => {
    const first = await load();
    server.forget();
    forgetCommits();
    expect(await load()).toEqual(first);
    expect(fetched()).toEqual([]);
    process.env.HF_HUB_OFFLINE = '1';
    server.forget();
    expect(await load()).toEqual(first);
    delete process.env.HF_HUB_OFFLINE;
    expect(await load({ local_files_only: true })).toEqual(first);
    expect(server.log).toEqual([]);
    server.fault = () => ({ status: 503 });
    forgetCommits();
    expect(await load()).toEqual(first);
  });

  it('follows a branch that moved, keeps to a commit, and shares blobs between the two', async () => {
    const { path: old } = await load();
    server.put('models/org/tiny', { 'config.json': '{"model_type":"llama","new":1}' });
    server.forget();
    forgetCommits();
    const { path: fresh } = await load();
    expect(fresh).not.toBe(old);
    expect(new Set(fetched())).toEqual(new Set(['config.json']));
    server.forget();
    expect((await load({ revision: old.split('/').at(-1) })).path).toBe(old);
    expect(server.log).toEqual([]);
    server.put('models/org/tiny', { 'config.json': '{"model_type":"llama","dev":1}', 'model.safetensors': 'x' }, { revision: 'dev' });
    const { path: dev } = await load({ revision: 'dev' });
    expect(readFileSync(join(dev, 'config.json'), 'utf8')).toContain('dev');
    await expect(load({ revision: 'nowhere' })).rejects.toThrow(/'org\/tiny' has no revision 'nowhere'.*\/tree\/main/);
    await expect(load({ revision: '../../x' })).rejects.toThrow(/it is a branch, a tag, or a commit/);
  });

  it('lists long trees by pages', async () => {
    server.page = 2;
    try {
      expect(readdirSync((await load()).path)).toHaveLength(3);
    } finally {
      server.page = 1000;
    }
  });

  it('copies where no links are wanted', async () => {
    process.env.HF_HUB_DISABLE_SYMLINKS = '1';
    try {
      const { path } = await load();
      expect(lstatSync(join(path, 'config.json')).isFile()).toBe(true);
    } finally {
      delete process.env.HF_HUB_DISABLE_SYMLINKS;
    }
  });
});

describe('what goes wrong on the way', () => {
  const whole = async () => readFileSync(join((await load()).path, 'model.safetensors')).equals(weights);

  it('a connection that is cut goes on where it was, range by range', async () => {
    let cuts = 0;
    server.fault = ({ url }) => (onBlob(url) && cuts++ < 6 ? { cut: 100_000 } : undefined);
    expect(await whole()).toBe(true);
    const sent = server.cdn.log.length;
    expect(cuts).toBe(sent);
    // Nothing comes twice but what was on its way when a connection broke.
    const ranges = server.cdn.log.map(({ range }) => range?.match(/\d+/g)?.map(Number) as [number, number]);
    expect(ranges.every((range) => range)).toBe(true);
    expect(new Set(ranges.map(([from]) => from)).size).toBe(sent);
  });

  it('a server that cuts for ever is given up, what came is kept, and the next call goes on', async () => {
    server.fault = ({ url }) => (onBlob(url) ? { cut: 0 } : undefined);
    await expect(load()).rejects.toThrow(
      /The transfer broke 6 times in a row while org\/tiny\/model.safetensors was fetched.*call it again/,
    );
    let answers = 0;
    server.fault = ({ url }) => (onBlob(url) ? { cut: answers++ ? 0 : 300_000 } : undefined);
    await expect(load()).rejects.toThrow(/The transfer broke/);
    server.fault = undefined;
    server.forget();
    expect(await whole()).toBe(true);
    const asked = server.cdn.log.reduce((sum, { range }) => {
      const [from, to] = (range?.match(/\d+/g) ?? []).map(Number);
      return sum + to - from + 1;
    }, 0);
    expect(asked).toBeLessThan(weights.length - 2 ** 16);
  });

  it.each([
    ['seconds', { 'retry-after': '1' }],
    ['a date', { 'retry-after': 'later' }],
    ["the Hub's own way", { ratelimit: '"resolvers";r=0;t=1' }],
  ])('429 with Retry-After in %s is waited for', async (_, headers) => {
    const times: number[] = [];
    server.fault = ({ url }) => {
      if (!url.includes('/resolve/') || !url.endsWith('/config.json')) return undefined;
      times.push(Date.now());
      return times.length === 1
        ? {
            status: 429,
            headers: Object.fromEntries(
              Object.entries(headers).map(([k, v]) => [k, v === 'later' ? new Date(Date.now() + 2000).toUTCString() : v]),
            ),
          }
        : undefined;
    };
    expect(await whole()).toBe(true);
    expect(times[1] - times[0]).toBeGreaterThan(400);
  });

  it('429 without an end is an error that says to wait', async () => {
    server.fault = ({ url }) => (url.includes('/revision/') ? { status: 429, headers: { 'retry-after': '4000' } } : undefined);
    await expect(load()).rejects.toThrow(/was asked too often.*Wait some minutes; with a token/);
  });

  it('wrong lengths', async () => {
    server.fault = ({ url, range }) =>
      onBlob(url) ? { status: 200, headers: { 'content-type': 'text/html' }, body: `<html>${range}` } : undefined;
    await expect(load()).rejects.toThrow(/model.safetensors has 1,300,017 bytes by the hub's own account, but 2\d come.*a login page/);
    server.fault = ({ url }) => (url.endsWith('/config.json') && url.includes('/resolve/') ? { length: 5 } : undefined);
    rmSync(hub(), { recursive: true });
    await expect(load()).rejects.toThrow(/config.json has 22 bytes by the hub's own account, but 5 come/);
  });

  it.each(['model.safetensors', 'config.json'])('wrong bytes of %s are fetched again once, then refused; none stay', async (file) => {
    const hits = ({ url }: { url: string }) =>
      file === 'config.json' ? url.includes('/resolve/') && url.endsWith(`/${file}`) : onBlob(url);
    let flips = 0;
    server.fault = (request) => (hits(request) && flips++ < 1 ? { flip: 4 } : undefined);
    expect(await whole()).toBe(true);
    rmSync(hub(), { recursive: true });
    server.fault = (request) => (hits(request) ? { flip: 4 } : undefined);
    await expect(load()).rejects.toThrow(new RegExp(`org/tiny/${file} came with wrong bytes twice.*checksum`));
    const left = readdirSync(join(folder(), 'blobs'));
    expect(left.filter((name) => name.includes('incomplete'))).toEqual([]);
    expect(left).not.toContain(file === 'config.json' ? blobId(Buffer.from(config)) : sha256(weights));
  });

  it('a server without ranges sends the whole', async () => {
    server.fault = ({ url }) => (onBlob(url) ? { noRanges: true } : undefined);
    expect(await whole()).toBe(true);
  });

  it('an address of the storage whose time is over is asked for again', async () => {
    const { most } = RANGES;
    RANGES.most = 2 ** 16;
    let answers = 0;
    server.fault = ({ url }) => (onBlob(url) && ++answers % 7 === 0 ? { status: 403 } : undefined);
    try {
      expect(await whole()).toBe(true);
    } finally {
      RANGES.most = most;
    }
    const asked = fetched().filter((name) => name === 'model.safetensors').length;
    // The Hub is asked at the beginning and after each refusal, not for each of the 20 ranges.
    expect(answers).toBeGreaterThan(20);
    expect(asked).toBeLessThan(20);
  });

  it('silence counts as a break', async () => {
    process.env.HF_HUB_DOWNLOAD_TIMEOUT = '0.3';
    let stalls = 0;
    server.fault = ({ url }) => (onBlob(url) && stalls++ < 2 ? { stall: 2 ** 16 } : undefined);
    expect(await whole()).toBe(true);
  });

  it('a full disk says so, and what came is kept', async () => {
    await load();
    const blob = join(folder(), 'blobs', sha256(weights));
    rmSync(blob);
    symlinkSync('/dev/full', `${blob}.tunebook.incomplete`);
    await expect(load()).rejects.toThrow(/the disk is full. Free some space.*HF_HUB_CACHE.*What has come is kept/);
    expect(existsSync(blob)).toBe(false);
    rmSync(`${blob}.tunebook.incomplete`);
    expect(await whole()).toBe(true);
  });

  it('a record that claims more than the file has is not believed', async () => {
    await load();
    const blob = join(folder(), 'blobs', sha256(weights));
    rmSync(blob);
    writeFileSync(`${blob}.tunebook.incomplete`, weights.subarray(0, 100));
    writeFileSync(
      `${blob}.tunebook.incomplete.json`,
      JSON.stringify([
        [0, 100],
        [200, 1000],
      ]),
    );
    expect(await whole()).toBe(true);
    rmSync(blob);
    writeFileSync(`${blob}.tunebook.incomplete`, noise(2 ** 19).reverse());
    writeFileSync(`${blob}.tunebook.incomplete.json`, JSON.stringify([[0, 2 ** 19]]));
    expect(await whole()).toBe(true);
  });

  it('no network', async () => {
    const gone = new Served(() => {});
    await gone.start();
    process.env.HF_ENDPOINT = gone.url;
    gone.stop();
    const { HF_ENDPOINT } = process.env;
    await expect(load()).rejects.toThrow(
      /No model 'org\/tiny' was found: there is no folder.*cannot be reached \(ECONNREFUSED\).*local_files_only/,
    );
    process.env.HF_ENDPOINT = server.url;
    await load();
    process.env.HF_ENDPOINT = HF_ENDPOINT;
    expect(await whole()).toBe(true);
  });
});

describe('names that lead elsewhere', () => {
  it.each(['../../../evil.json', '/etc/evil', 'a/../../evil', 'a\\..\\evil', 'C:/evil', ''])('a listed file %j', async (path) => {
    const oid = 'a'.repeat(40);
    server.fault = ({ url }) =>
      url.includes('/tree/') ? { status: 200, body: JSON.stringify([{ type: 'file', path, size: 1, oid }]) } : undefined;
    await expect(load()).rejects.toThrow(/leads out of its folder. Nothing of it was fetched/);
  });
  it.each(['../x', '/'])('an ETag %j', async (oid) => {
    server.fault = ({ url }) =>
      url.includes('/tree/') ? { status: 200, body: JSON.stringify([{ type: 'file', path: 'config.json', size: 1, oid }]) } : undefined;
    await expect(load()).rejects.toThrow(/leads out of its folder/);
  });
  it.each(['../x', 'a/b', '..'])('a commit %j', async (sha) => {
    server.fault = ({ url }) => (url.includes('/revision/') ? { status: 200, body: JSON.stringify({ sha }) } : undefined);
    await expect(load()).rejects.toThrow(/did not say which commit/);
  });
  it.each([
    ['name', { '../../../x.gguf': { size: 1, blob_id: 'a'.repeat(40) } }],
    ['ETag', { 'x.gguf': { size: 1, blob_id: '../../../x' } }],
    ['size', { 'x.gguf': { size: -1, blob_id: 'a'.repeat(40) } }],
  ])('a %s in a list that somebody else wrote into the cache: it is asked for anew', async (_, files) => {
    await load();
    const trees = join(folder(), 'trees');
    const [list] = readdirSync(trees);
    writeFileSync(join(trees, list), JSON.stringify({ format_version: 1, files }));
    server.forget();
    forgetCommits();
    expect((await load()).kind).toBe('folder');
    expect(server.log.some(({ url }) => url.includes('/tree/'))).toBe(true);
    expect(readFileSync(join(trees, list), 'utf8')).not.toMatch(/x\.gguf/);
  });
  it('a shard', async () => {
    server.put('models/org/sharded', {
      'config.json': config,
      'model.safetensors.index.json': JSON.stringify({ weight_map: { a: '../../../../x.safetensors' } }),
    });
    await expect(resolveModel('org/sharded')).rejects.toThrow(
      /names a file "..\/..\/..\/..\/x.safetensors", which leads out of its folder/,
    );
  });
});

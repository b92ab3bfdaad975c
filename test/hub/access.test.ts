import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { resolveAdapter, resolveFile, resolveModel, resolveTokenizer } from '../../src/hub/resolve';
import { RETRY } from '../../src/hub/settings';
import { forgetCommits } from '../../src/hub/shelf';
import { AutoConfig, AutoModelForCausalLM, GenerationConfig } from '../../src/index';
import { scratch } from '../tiny';
import { HubServer, sha256 } from './hub_server';
import { loads } from './peer_process';
import { Served } from './served';

let server: HubServer;
let home: string;
const config = JSON.stringify({ model_type: 'llama' });
const weights = Buffer.alloc(3 * 2 ** 20, 'weights');

beforeAll(async () => {
  server = await new HubServer().start();
  Object.assign(RETRY, { first: 5, longest: 20 });
});
afterAll(() => server.stop());
beforeEach(() => {
  home = scratch('hub');
  server.clear();
  forgetCommits();
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_TOKEN_PATH', 'HF_HUB_DISABLE_IMPLICIT_TOKEN'])
    delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: server.url, HF_HOME: home });
  const files = { 'config.json': config, 'model.safetensors': weights };
  server.put('models/org/open', files);
  server.put('models/org/gated', files, { gated: true });
  server.put('models/org/hidden', files, { hidden: true });
});

const sent = () => new Set(server.hub.log.map(({ authorization }) => authorization));

describe('a token', () => {
  it.each([
    ['the option', {}, () => {}, { token: 'hf_good' }],
    ['HF_TOKEN', { HF_TOKEN: ' hf_good\n' }, () => {}, {}],
    ['the login', {}, () => writeFileSync(join(home, 'token'), 'hf_good\n'), {}],
    ['HF_TOKEN_PATH', { HF_TOKEN_PATH: '$HF_HOME/other' }, () => writeFileSync(join(home, 'other'), 'hf_good'), { token: true }],
    [
      'a stored one by its name',
      {},
      () => writeFileSync(join(home, 'stored_tokens'), '[work]\nhf_token = hf_good\n\n[home]\nhf_token = hf_x\n'),
      { token: 'work' },
    ],
  ])('of %s opens what is private or gated, and stays with the Hub', async (_, env, prepare, options) => {
    prepare();
    Object.assign(process.env, env);
    for (const name of ['org/gated', 'org/hidden']) expect((await resolveModel(name, options)).kind).toBe('folder');
    expect(sent()).toEqual(new Set(['Bearer hf_good']));
    expect(server.cdn.log.length).toBeGreaterThan(0);
    expect(server.cdn.log.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it('is not sent where none is wanted', async () => {
    process.env.HF_TOKEN = 'hf_good';
    await resolveModel('org/open', { token: false });
    process.env.HF_HUB_DISABLE_IMPLICIT_TOKEN = '1';
    await resolveModel('org/open');
    expect(sent()).toEqual(new Set([undefined]));
  });

  it.each([
    [{ token: true }, /token is true, but there is no token. Make one at .*settings\/tokens/],
    [{ token: '' }, /token is empty/],
    [{ token: 'a b' }, /token is empty or holds spaces/],
    [{ token: 3 }, /token is 3; it can be/],
  ])('%j is refused', async (options, message) => {
    await expect(resolveModel('org/open', options as object)).rejects.toThrow(message as RegExp);
  });

  it('does not follow a redirect to another host, a renamed repository keeps it', async () => {
    process.env.HF_TOKEN = 'hf_good';
    const other = new Served((_, answer) => answer.end(JSON.stringify({ sha: 'f'.repeat(40) })));
    await other.start();
    server.fault = ({ url }) => (url.includes('/revision/') ? { status: 307, headers: { location: `${other.url}/x` } } : undefined);
    await expect(resolveModel('org/open')).rejects.toThrow();
    expect(other.log).toHaveLength(1);
    expect(other.log[0].authorization).toBeUndefined();
    other.stop();
    server.fault = ({ url }) =>
      url.includes('/org/old') ? { status: 307, headers: { location: url.replace('/org/old', '/org/hidden') } } : undefined;
    forgetCommits();
    expect((await resolveModel('org/old')).path).toContain('models--org--old');
  });
});

describe('a refusal says what to do', () => {
  it.each([
    [
      'org/gated',
      {},
      /'org\/gated' is gated.*Ask for access at http.*\/org\/gated with your account.*HF_TOKEN.*hf auth login.*token: 'hf_...'/,
    ],
    ['org/hidden', {}, /No model 'org\/hidden' was found.*or it is private.*No token was given/],
    ['org/nothing', { token: 'hf_good' }, /'org\/nothing' is not on http.*or it is private.*The token is that of the option token/],
    ['org/nothing', {}, /Check the name/],
    ['a/b/c', {}, /No model 'a\/b\/c' was found: there is no folder or file .*a name on the Hub is 'owner\/name'/],
    ['./here', {}, /there is no folder/],
    ['org/--x', {}, /a name on the Hub is/],
  ])('%s', async (name, options, message) => {
    await expect(resolveModel(name, options)).rejects.toThrow(message as RegExp);
  });

  it('a gated one with a token that may not', async () => {
    server.fault = ({ url }) =>
      url.includes('/resolve/')
        ? { status: 403, headers: { 'x-error-code': 'GatedRepo', 'x-error-message': 'Your request is awaiting a review.' } }
        : undefined;
    await expect(resolveModel('org/gated', { token: 'hf_good' })).rejects.toThrow(
      /is gated.*when it is granted load it again. The token is that of the option token.*fine-grained.*The Hub says: "Your request is awaiting a review."/,
    );
  });

  it.each([
    [500, /is out of order \(status 500\)/],
    [403, /may not be read/],
    [418, /answered with status 418/],
  ])('status %i', async (status, message) => {
    server.fault = () => ({ status: status as number });
    await expect(resolveModel('org/open')).rejects.toThrow(message as RegExp);
  });

  it('what is no Hub at all', async () => {
    server.fault = () => ({ status: 200, body: '<html>log in' });
    await expect(resolveModel('org/open')).rejects.toThrow(/answered with what is no JSON \("<html>log in"\).*proxy/);
  });

  it('without a network, and without the files', async () => {
    await resolveFile('org/open', 'config.json');
    await expect(resolveModel('org/open', { local_files_only: true })).rejects.toThrow(
      /'org\/open' is in the cache without model.safetensors, and local_files_only is true. Load it once with a network/,
    );
    await expect(resolveModel('org/gated', { local_files_only: true })).rejects.toThrow(/'org\/gated' is not in the cache/);
    await expect(resolveModel('org/open', { local_files_only: true, revision: 'dev' })).rejects.toThrow(/at revision 'dev'; there is main/);
    await expect(resolveModel('org/open', { local_files_only: true, force_download: true })).rejects.toThrow(
      /force_download needs the Hub/,
    );
  });
});

describe('only the files that are needed', () => {
  const fetched = () => server.hub.log.flatMap(({ url }) => url.match(/\/resolve\/[^/]+\/(.*)$/)?.[1] ?? []).sort();

  it.each([
    [
      'a sharded model',
      {
        'model.safetensors.index.json': JSON.stringify({ weight_map: { a: 'one.safetensors', b: 'two.safetensors' } }),
        'one.safetensors': '1',
        'two.safetensors': '2',
        'three.safetensors': '3',
        'pytorch_model-00001-of-00001.bin': '4',
      },
      {},
      ['config.json', 'model.safetensors.index.json', 'one.safetensors', 'two.safetensors'],
    ],
    [
      'a file that config.json names',
      { 'config.json': JSON.stringify({ transformers_weights: 'mine.safetensors' }), 'mine.safetensors': '1', 'model.safetensors': '2' },
      {},
      ['config.json', 'mine.safetensors'],
    ],
    ['a GGUF file by its name', { 'a-Q4_0.gguf': '1', 'a-Q8_0.gguf': '2' }, { gguf_file: 'a-Q8_0.gguf' }, ['a-Q8_0.gguf']],
    [
      'all parts of a split one',
      { 'config.json': '', 'a-00001-of-00002.gguf': '1', 'a-00002-of-00002.gguf': '2' },
      { gguf_file: 'a-00001-of-00002.gguf' },
      ['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf'],
    ],
    [
      'a folder of the repository',
      { 'in/config.json': config, 'in/model.safetensors': '1', 'model.safetensors': '2' },
      { subfolder: 'in' },
      ['in/config.json', 'in/model.safetensors'],
    ],
  ])('of %s', async (_, files, options, expected) => {
    server.put('models/org/some', { 'config.json': config, ...(files as Record<string, string>) });
    await resolveModel('org/some', options as object);
    expect(fetched()).toEqual(expected);
  });

  it('of a tokenizer, of an adapter, of settings', async () => {
    server.put('models/org/all', {
      ...{
        'config.json': config,
        'model.safetensors': '1',
        'tokenizer.json': '{}',
        'tokenizer_config.json': '{"x":1}',
        'tokenizer.model': '2',
      },
      ...{
        'chat_template.jinja': 'x',
        'additional_chat_templates/tools.jinja': 'y',
        'adapter_config.json': '{"y":1}',
        'adapter_model.safetensors': '3',
      },
      ...{ 'adapter_model.bin': '4', 'README.md': '5', 'generation_config.json': '{"top_k":7}' },
    });
    await resolveTokenizer('org/all');
    expect(fetched()).toEqual(['additional_chat_templates/tools.jinja', 'chat_template.jinja', 'tokenizer.json', 'tokenizer_config.json']);
    server.forget();
    await resolveAdapter('org/all');
    expect(fetched()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    server.forget();
    expect((await GenerationConfig.from_pretrained('org/all')).top_k).toBe(7);
    await expect(AutoConfig.from_pretrained('org/all')).rejects.toThrow(/vocab_size must be a whole number/);
    expect(fetched()).toEqual(['config.json', 'generation_config.json']);
  });

  it.each([
    [
      'pickles',
      { 'pytorch_model.bin': '1', 'config.json': config },
      /weights in pytorch_model.bin only, a pickle, whose reading would run code; it was not fetched.*refs\/pr\/1.*save_pretrained/,
    ],
    ['two GGUF files', { 'a.gguf': '1', 'b.gguf': '2' }, /has 2 GGUF files.*gguf_file: 'a.gguf'/],
    [
      'an adapter',
      { 'adapter_config.json': '{"base_model_name_or_path":"org/base"}' },
      /holds an adapter and no model. Load its base first.*'org\/base'/,
    ],
    ['nothing', { 'notes.txt': '1' }, /holds no model.*It has notes.txt/],
    ['no weights', { 'config.json': config, 'vocab.json': '1' }, /has no model.safetensors and no model.safetensors.index.json/],
  ])('%s', async (_, files, message) => {
    server.put('models/org/odd', files as Record<string, string>);
    await expect(AutoModelForCausalLM.from_pretrained('org/odd')).rejects.toThrow(message as RegExp);
    expect(fetched().filter((name) => /bin$|pt$/.test(name))).toEqual([]);
  });

  it('adapters', async () => {
    server.put('models/org/odd', { 'adapter_config.json': '{"y":1}', 'adapter_model.bin': '1' });
    await expect(resolveAdapter('org/odd')).rejects.toThrow(/adapter_model.bin only, a pickle/);
    await expect(resolveAdapter('org/open')).rejects.toThrow(/is no adapter. It is a model/);
    server.put('models/org/gguf', { 'a.gguf': '1', 'b.gguf': '2' });
    await expect(resolveModel('org/gguf', { gguf_file: 'c.gguf' })).rejects.toThrow(/has no c.gguf; it has a.gguf, b.gguf/);
  });
});

describe('several processes', () => {
  const env = () => ({ HF_HOME: home, HF_ENDPOINT: server.url });
  const blobs = () => join(home, 'hub', 'models--org--open', 'blobs');

  it('that load at once fetch each file once', async () => {
    const both = await Promise.all([loads('org/open', env()).ended, loads('org/open', env()).ended]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(both[0].out).toBe(both[1].out);
    expect(server.cdn.log).toHaveLength(1);
    expect(readFileSync(join(both[0].out, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('one that is killed in the middle leaves what the next goes on with', async () => {
    server.fault = ({ url }) => (url.startsWith('/blob/') ? { stall: 2 ** 20 } : undefined);
    const { child, ended } = loads('org/open', env());
    const partial = () =>
      existsSync(blobs()) ? readdirSync(blobs()).filter((name) => name === `${sha256(weights)}.tunebook.incomplete.json`) : [];
    while (!partial().length) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGKILL');
    await ended;
    const had = (JSON.parse(readFileSync(join(blobs(), partial()[0]), 'utf8')) as [number, number][])[0][1];
    expect(had).toBeGreaterThan(0);
    server.fault = undefined;
    server.forget();
    const { path } = await resolveModel('org/open');
    expect(server.cdn.log[0].range).toBe(`bytes=${had}-${weights.length - 1}`);
    expect(sha256(readFileSync(join(path, 'model.safetensors')))).toBe(sha256(weights));
    expect(readdirSync(blobs()).filter((name) => name.includes('incomplete'))).toEqual([]);
  });

  it('a cache that may not be written says where to put one', async () => {
    mkdirSync(join(home, 'locked'));
    writeFileSync(join(home, 'locked', 'models--org--open'), 'a file in the way');
    await expect(resolveModel('org/open', { cache_dir: join(home, 'locked') })).rejects.toThrow(
      /locked\/models--org--open.* cannot be written/,
    );
  });
});

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { take } from '../../src/engine/backend';
import * as tf from '../../src/engine/tf';
import { resolveModel } from '../../src/hub/resolve';
import { RETRY } from '../../src/hub/settings';
import { forgetCommits } from '../../src/hub/shelf';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, get_peft_model, LoraConfig, PeftModel } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import type { Tokenizer } from '../../src/tokenizers/tokenizer';
import { HubServer } from '../hub/hub_server';
import { KaggleServer } from '../hub/kaggle_server';
import { python } from '../hub/python';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

// The real huggingface_hub, kagglehub, transformers and PEFT beside ours, with one hub and one cache between them.

let server: HubServer;
let home: string;
let folder: string;
let model: CausalLM;
let tokenizer: Tokenizer;
const weights = Buffer.alloc(3 * 2 ** 20, 'weights');

beforeAll(async () => {
  server = await new HubServer().start();
  Object.assign(RETRY, { first: 5, longest: 20 });
  folder = await tinyLlama();
  await tinyTokenizer().save_pretrained(folder);
  [model, tokenizer] = [
    await AutoModelForCausalLM.from_pretrained(folder, { progress: false }),
    await AutoTokenizer.from_pretrained(folder),
  ];
});
afterAll(() => server.stop());
beforeEach(() => {
  home = scratch('hub');
  server.clear();
  forgetCommits();
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_TOKEN_PATH']) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: server.url, HF_HOME: home });
  const files = {
    'config.json': '{"model_type":"llama"}',
    'model.safetensors': weights,
    'generation_config.json': '{}',
    'pytorch_model.bin': 'a pickle',
  };
  server.put('models/org/open', files);
  server.put('models/org/hidden', files, { hidden: true });
});
const sent = () => new Set(server.hub.log.map(({ authorization }) => authorization));
const fetched = () => server.hub.log.filter(({ url }) => url.includes('/resolve/')).map(({ url }) => url.split('/').at(-1));
const repo = (key = 'models/me/tiny') => server.repos.get(key);
const names = (key = 'models/me/tiny') => [...server.files(key).keys()].sort();
/** Python with a token and a cache of its own. */
const asMe = () => {
  process.env.HF_TOKEN = 'hf_good';
  return { HF_ENDPOINT: server.url, HF_HOME: join(home, 'python'), HF_TOKEN: 'hf_good' };
};
/** Of the last token. */
const logits = (one: CausalLM, ids: number[]) =>
  take(
    tf.tidy(() => {
      const all = one.forward(tf.tensor2d([ids], [1, ids.length], 'int32'));
      return tf.reshape(tf.slice(all, [0, ids.length - 1, 0], [1, 1, -1]), [-1]);
    }),
  );

it('what Python downloaded is found here, and the other way round', async () => {
  const code = (more: string) => `
import json
from huggingface_hub import snapshot_download, hf_hub_download, scan_cache_dir, try_to_load_from_cache, _CACHED_NO_EXIST
${more}`;
  const env = { HF_HOME: home, HF_ENDPOINT: server.url };
  const theirs = await python<string>(code(`print(json.dumps(snapshot_download('org/open', ignore_patterns=['*.bin'])))`), env);
  server.forget();
  expect((await resolveModel('org/open')).path).toBe(theirs);
  expect(fetched()).toEqual([]);
  rmSync(join(home, 'hub'), { recursive: true });
  forgetCommits();
  const { path: ours } = await resolveModel('org/open');
  server.forget();
  const seen = await python<{ path: string; repos: number; warnings: number; none: boolean; files: number }>(
    code(`
path = hf_hub_download('org/open', 'model.safetensors')
cache = scan_cache_dir()
none = try_to_load_from_cache('org/open', 'chat_template.jinja') is _CACHED_NO_EXIST
repo = next(iter(cache.repos))
print(json.dumps(dict(path=path, repos=len(cache.repos), warnings=len(cache.warnings), none=none, files=repo.nb_files)))`),
    env,
  );
  expect(seen).toEqual({ path: join(ours, 'model.safetensors'), repos: 1, warnings: 0, none: false, files: 3 });
  expect(server.log.filter(({ method }) => method === 'GET')).toEqual([]);
  const offline = await python<string>(
    code(`print(json.dumps(snapshot_download('org/open', allow_patterns=['config.json', 'model.safetensors'])))`),
    {
      ...env,
      HF_HUB_OFFLINE: '1',
    },
  );
  expect(offline).toBe(ours);
});

it('is the one that Python takes', async () => {
  writeFileSync(join(home, 'token'), 'hf_file\n');
  const theirs = (env: Record<string, string>) =>
    python<string | null>('import json; from huggingface_hub import get_token; print(json.dumps(get_token()))', {
      HF_HOME: home,
      ...env,
    });
  expect(await theirs({})).toBe('hf_file');
  await expect(resolveModel('org/hidden')).rejects.toThrow(/does not know the token of the login/);
  expect(sent()).toEqual(new Set(['Bearer hf_file']));
  process.env.HF_TOKEN = 'hf_env';
  expect(await theirs({ HF_TOKEN: 'hf_env' })).toBe('hf_env');
  await expect(resolveModel('org/hidden')).rejects.toThrow(/does not know the token of HF_TOKEN.*settings\/tokens/);
});

it('one of them Python: each waits for the other', async () => {
  let answers = 0;
  // The first answer takes its time: half of it, then silence until the client asks again.
  server.fault = ({ url }) => (url.startsWith('/blob/') && answers++ === 0 ? { stall: 2 ** 20 } : undefined);
  const theirs = python<string>(
    "import json; from huggingface_hub import hf_hub_download as h; print(json.dumps(h('org/open', 'model.safetensors')))",
    {
      HF_HOME: home,
      HF_ENDPOINT: server.url,
      HF_HUB_DOWNLOAD_TIMEOUT: '3',
    },
  );
  while (!server.cdn.log.length) await new Promise((resolve) => setTimeout(resolve, 20));
  const { path } = await resolveModel('org/open');
  expect(join(path, 'model.safetensors')).toBe(await theirs);
  // Python's broken request, and its second one: ours found the blob when the lock was free.
  expect(server.cdn.log).toHaveLength(2);
});

it('is shared with kagglehub, both ways', async () => {
  const NAME = 'kaggle://metaresearch/llama-2/transformers/7b-hf';
  const folder = join(home, 'cache', 'models', 'metaresearch', 'llama-2', 'transformers', '7b-hf', '1');
  const files = { 'config.json': Buffer.from('{}'), 'model.safetensors': weights, 'pytorch_model.bin': Buffer.from('pickle') };
  const kaggle = await new KaggleServer().start();
  kaggle.models.set('metaresearch/llama-2/MODEL_FRAMEWORK_TRANSFORMERS/7b-hf', [files]);
  Object.assign(process.env, {
    KAGGLEHUB_CACHE: join(home, 'cache'),
    KAGGLE_API_ENDPOINT: kaggle.api.url,
    KAGGLE_USERNAME: 'me',
    KAGGLE_KEY: 'kgl',
  });
  // kagglehub has no setting for another endpoint, but its table of endpoints has.
  const code = (path: string) => `
import json, kagglesdk.kaggle_env as env
env._env_to_endpoint[env.KaggleEnv.TEST] = ${JSON.stringify(kaggle.api.url)}
import kagglehub
print(json.dumps(kagglehub.model_download('metaresearch/llama-2/transformers/7b-hf'${path})))`;
  const env = { HOME: home, KAGGLEHUB_CACHE: join(home, 'cache'), KAGGLE_API_ENVIRONMENT: 'TEST' };
  await resolveModel(NAME);
  kaggle.forget();
  expect(await python<string>(code(", path='model.safetensors'"), env)).toBe(join(folder, 'model.safetensors'));
  expect(kaggle.storage.log).toEqual([]);
  expect(await python<string>(code(''), { ...env, KAGGLEHUB_CACHE: join(home, 'theirs') })).toContain('theirs');
  process.env.KAGGLEHUB_CACHE = join(home, 'theirs');
  kaggle.forget();
  expect((await resolveModel(NAME)).path).toContain('theirs');
  expect(kaggle.storage.log).toEqual([]);
  kaggle.stop();
});

it('a model, its tokenizer and an adapter are what transformers and PEFT load, in one commit each', async () => {
  const env = asMe();
  const pushed = await model.push_to_hub('me/tiny', { commit_message: 'First' });
  expect(pushed).toEqual({
    repo_url: `${server.url}/me/tiny`,
    commit_url: expect.stringContaining('/commit/'),
    oid: repo()?.refs.get('main'),
  });
  await tokenizer.push_to_hub('tiny');
  expect(repo()?.messages).toEqual(['First', 'Upload tokenizer']);
  const files = ['.gitattributes', 'README.md', 'chat_template.jinja', 'config.json', 'generation_config.json'];
  expect(names()).toEqual([...files, 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
  const peft = get_peft_model(model, new LoraConfig({ r: 4, target_modules: 'all-linear', init_lora_weights: false }));
  const ids = tokenizer.encode('hello there');
  const adapted = [...(await logits(model, ids))];
  await peft.push_to_hub('me/adapter', { private: true });
  peft.unload();
  expect(repo('models/me/adapter')?.private).toBe(true);
  expect(names('models/me/adapter')).toEqual(['.gitattributes', 'README.md', 'adapter_config.json', 'adapter_model.safetensors']);
  // A folder of this machine is no base that the Hub would take.
  expect(server.files('models/me/adapter').get('README.md')?.toString()).not.toContain('base_model');
  const theirs = await python<{ plain: number[]; adapted: number[]; ids: number[] }>(
    `
import json, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
tokenizer = AutoTokenizer.from_pretrained('me/tiny')
model, info = AutoModelForCausalLM.from_pretrained('me/tiny', dtype=torch.float32, output_loading_info=True)
assert not info['missing_keys'] and not info['unexpected_keys'], info
ids = tokenizer('hello there')['input_ids']
last = lambda: model(torch.tensor([ids])).logits[0, -1].tolist()
plain = last()
model = PeftModel.from_pretrained(model, 'me/adapter')
print(json.dumps(dict(plain=plain, adapted=last(), ids=ids)))`,
    env,
  );
  expect(theirs.ids).toEqual(ids);
  const again = await AutoModelForCausalLM.from_pretrained('me/tiny', { progress: false });
  const plain = [...(await logits(again, ids))];
  const apart = (a: number[], b: number[]) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));
  expect(apart(theirs.plain, plain)).toBeLessThan(1e-4);
  expect(apart(theirs.adapted, adapted)).toBeLessThan(1e-4);
  expect(apart(plain, adapted)).toBeGreaterThan(1e-2);
  const loaded = await PeftModel.from_pretrained(again, 'me/adapter');
  expect(apart([...(await logits(again, ids))], adapted)).toBeLessThan(1e-6);
  loaded.unload();
  await expect(PeftModel.from_pretrained(again, 'me/adapter', { token: false })).rejects.toThrow(/or it is private/);
});

it('rows that were pushed are what Python reads', async () => {
  const rows = [
    { question: 'a "b"\n', answer: 'ü' },
    { question: 'c', answer: null },
  ];
  const env = asMe();
  await Dataset.from_list(rows).push_to_hub('me/rows');
  const theirs = await python<string>(
    "import json; from huggingface_hub import hf_hub_download as h; print(json.dumps(open(h('me/rows', 'data/train.jsonl', repo_type='dataset'), encoding='utf8').read()))",
    env,
  );
  expect(
    theirs
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual(rows);
  // Python's datasets finds splits and rows by itself.
  const read = await python<Record<string, unknown[]>>(
    "import json, datasets; datasets.disable_progress_bars(); print(json.dumps({name: list(rows) for name, rows in datasets.load_dataset('me/rows').items()}))",
    { ...env, HF_DATASETS_CACHE: join(home, 'datasets') },
  );
  expect(read).toEqual({ train: rows });
});

it('what Python pushed is loaded here', async () => {
  await python(
    `
import json
from huggingface_hub import HfApi
api = HfApi()
api.create_repo('me/theirs')
api.upload_folder(repo_id='me/theirs', folder_path=${JSON.stringify(folder)})
print('true')`,
    asMe(),
  );
  const loaded = await AutoModelForCausalLM.from_pretrained('me/theirs', { progress: false });
  expect(loaded.numParameters()).toBe(model.numParameters());
  expect((await AutoTokenizer.from_pretrained('me/theirs')).encode('hello')).toEqual(tokenizer.encode('hello'));
});

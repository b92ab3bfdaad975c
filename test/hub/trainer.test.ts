import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { on } from '../../src/core/events';
import { RETRY } from '../../src/hub/settings';
import { forgetCommits } from '../../src/hub/shelf';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, LoraConfig, PeftModel, SFTConfig, SFTTrainer } from '../../src/index';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { HubServer } from './hub_server';

let server: HubServer;
let folder: string;
let out: string;
const warnings: string[] = [];
on('warning', ({ text }) => warnings.push(text));

beforeAll(async () => {
  server = await new HubServer().start();
  Object.assign(RETRY, { times: 2, first: 5, longest: 20 });
  folder = await tinyLlama();
  await tinyTokenizer().save_pretrained(folder);
});
afterAll(() => server.stop());
beforeEach(() => {
  out = join(scratch('run'), 'my-lora');
  warnings.length = 0;
  server.clear();
  forgetCommits();
  for (const name of ['HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_TOKEN']) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: server.url, HF_HOME: scratch('home') });
});

const rows = Dataset.from_list(Array.from({ length: 8 }, (_, i) => chatRow(`what is ${i}?`, `it is ${i}`)));
async function trainer(options: object) {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const args = new SFTConfig({
    ...{ output_dir: out, max_steps: 4, save_steps: 2, per_device_train_batch_size: 2, eval_strategy: 'steps', eval_steps: 2 },
    ...{ disable_tqdm: true, assistant_only_loss: true, push_to_hub: true, hub_token: 'hf_good', ...options },
  });
  const peft_config = new LoraConfig({ r: 4, target_modules: 'all-linear' });
  return new SFTTrainer({
    ...{ model, args, peft_config, train_dataset: rows, eval_dataset: rows.select([0, 1]) },
    processing_class: await AutoTokenizer.from_pretrained(folder),
  });
}
const KEY = 'models/me/my-lora';
const names = () => [...server.files(KEY).keys()].sort();
const messages = () => server.repos.get(KEY)?.messages ?? [];
const MODEL = [
  '.gitattributes',
  'README.md',
  'adapter_config.json',
  'adapter_model.safetensors',
  'chat_template.jinja',
  'tokenizer.json',
  'tokenizer_config.json',
  'training.png',
];
const OF_THE_RUN = ['adapter_config.json', 'optimizer.safetensors', 'run.json', 'trainer_state.json', 'training_args.json'];

it.each([
  ['end', ['End of training'], []],
  ['every_save', ['Training in progress, step 2', 'End of training'], []],
  ['checkpoint', ['Training in progress, step 2', 'End of training'], ['last-checkpoint']],
  ['all_checkpoints', ['Training in progress, step 2', 'End of training'], ['checkpoint-2']],
])('hub_strategy %s', async (hub_strategy, said, folders) => {
  const run = await trainer({ hub_strategy });
  const { global_step } = await run.train();
  expect(global_step).toBe(4);
  expect(messages()).toEqual(said);
  expect(warnings).toEqual([]);
  expect(names().filter((name) => !name.includes('/'))).toEqual(MODEL);
  for (const inside of folders) expect(names()).toEqual(expect.arrayContaining(OF_THE_RUN.map((name) => `${inside}/${name}`)));
  expect(names().some((name) => name.includes('/'))).toBe(folders.length > 0);
  expect(readdirSync(out).filter((name) => name.startsWith('.push'))).toEqual([]);
  // The token is in no file, here or there.
  for (const bytes of server.files(KEY).values()) expect(bytes.includes('hf_good')).toBe(false);
  expect(readFileSync(join(out, 'checkpoint-4', 'training_args.json'), 'utf8')).toMatch(/"hub_token": "<HUB_TOKEN>"/);
});

it('the card tells settings, figures and use, with a picture; what is pushed loads', async () => {
  const run = await trainer({ hub_model_id: 'me/my-lora', hub_private_repo: true });
  await run.train();
  const card = server.files(KEY).get('README.md')?.toString() as string;
  const expected = [
    /^---\nlibrary_name: peft\nmodel_name: my-lora\npipeline_tag: text-generation\ntags:\n- lora\n- tunebook\n---/,
    /# my-lora\n\n.*r = 4.* for `tunebook-tiny-llama-\w+`, trained with tunebook\./,
    /!\[The loss of the run, step by step\]\(training.png\)/,
    /\| steps \| 4 of 4, 1 epoch \|/,
    /\| training loss \| [\d.]+ \(step 1\), [\d.]+ \(step 4\) \|/,
    /\| evaluation loss \| [\d.]+ \(step 2\), [\d.]+ \(step 4\) \|/,
    /\| `learning_rate` \| 0.00002 \|/,
    /PeftModel.from_pretrained\(base, "me\/my-lora"\)/,
    /PeftModel.from_pretrained\(AutoModelForCausalLM.from_pretrained\("path\/to\/tunebook-tiny-llama-\w+"\), "me\/my-lora"\)/,
  ];
  for (const pattern of expected) expect(card).toMatch(pattern);
  expect(card).not.toContain(folder);
  expect(server.repos.get(KEY)?.private).toBe(true);
  const png = server.files(KEY).get('training.png') as Buffer;
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  // To be looked at.
  if (process.env.TUNEBOOK_LOOK) {
    writeFileSync(join(process.env.TUNEBOOK_LOOK, 'training.png'), png);
    writeFileSync(join(process.env.TUNEBOOK_LOOK, 'README.md'), card);
  }
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  expect((await PeftModel.from_pretrained(model, 'me/my-lora', { token: 'hf_good' })).active_peft_config).toMatchObject({ r: 4 });
  expect(await run.push_to_hub('Again')).toMatchObject({ repo_url: `${server.url}/me/my-lora` });
});

it.each([
  ['the whole time', () => () => ({ status: 503 }), 0],
  [
    'in the middle',
    () =>
      ({ method }: { method: string }) =>
        method === 'PUT' ? { status: 500 } : undefined,
    0,
  ],
  [
    'for a while',
    () => {
      let commits = 0;
      return ({ url }: { url: string }) => (url.includes('/commit/') && commits++ === 0 ? { status: 400 } : undefined);
    },
    1,
  ],
])('a network that fails %s does not end the run', async (_, fault, arrived) => {
  const run = await trainer({});
  server.fault = fault() as never;
  const output = await run.train();
  expect(output).toMatchObject({ global_step: 4, stopped: false });
  expect(run.run?.status).toBe('finished');
  expect(existsSync(join(out, 'checkpoint-4', 'adapter_model.safetensors'))).toBe(true);
  expect(warnings.some((text) => /Nothing is lost.*trainer.push_to_hub\(\)/.test(text))).toBe(true);
  expect(run.run?.events.filter(({ kind }) => kind === 'warning').length).toBeGreaterThan(0);
  expect(names().includes('adapter_model.safetensors')).toBe(arrived > 0);
  server.fault = undefined;
  await run.push_to_hub();
  expect(names()).toEqual(MODEL);
});

it.each([
  [{ hub_token: null }, /needs a token with the right to write/],
  [{ hub_token: 'hf_bad' }, /does not know the token/],
  [{ hub_model_id: 'other/x' }, /'other\/x' may not be written to/],
])('%j is told before the first step', async (options, message) => {
  const run = await trainer(options);
  await expect(run.train()).rejects.toThrow(message);
  expect(run.state.global_step).toBe(0);
});

it.each([
  [{ hub_strategy: 'sometimes' }, /hub_strategy = 'sometimes' is not one of end, every_save, checkpoint, all_checkpoints/],
  [{ hub_model_id: 'a/b/c' }, /hub_model_id = 'a\/b\/c' is no name of a repository/],
  [{ push_to_hub: 'yes' }, /push_to_hub = 'yes' must be true or false/],
])('%j is refused', (options, message) => {
  expect(() => new SFTConfig(options as unknown as Record<string, never>)).toThrow(message);
});

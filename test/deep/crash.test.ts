import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { faultOf } from '../../src/train/checkpoint';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const lib = resolve(__dirname, '../../lib/index.js');
const STEPS = 60;

/** A program that trains with a checkpoint at every step, goes on from the last one there is, and writes its losses. */
const program = `
const fs = require('node:fs');
const { AutoModelForCausalLM, AutoTokenizer, load_dataset, LoraConfig, SFTConfig, SFTTrainer } = require(${JSON.stringify(lib)});
(async () => {
  const [folder, out, seed] = process.argv.slice(2);
  const model = await AutoModelForCausalLM.from_pretrained(folder + '/model', { progress: false });
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const { train } = await load_dataset(folder + '/rows.jsonl');
  const args = new SFTConfig({ output_dir: out, max_steps: ${STEPS}, per_device_train_batch_size: 4, learning_rate: 1e-2,
    assistant_only_loss: true, seed: seed ? Number(seed) : 42, save_strategy: 'steps', save_steps: 1, save_total_limit: 3, disable_tqdm: true });
  const peft_config = new LoraConfig({ r: 4, lora_dropout: 0.1, target_modules: 'all-linear' });
  const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: train, peft_config, args });
  const resume = fs.existsSync(out) && fs.readdirSync(out).some((name) => /^checkpoint-\\d+(\\.old.*)?$/.test(name)) && !seed;
  console.log('training');
  await trainer.train({ resume_from_checkpoint: resume });
  fs.writeFileSync(out + '/losses.json', JSON.stringify(trainer.run.series.loss));
})().catch((error) => { console.error(error); process.exit(1); });
`;

let folder: string;
beforeAll(async () => {
  folder = scratch('crash');
  cpSync(await tinyLlama(5), join(folder, 'model'), { recursive: true });
  await tinyTokenizer().save_pretrained(folder);
  const rows = Array.from({ length: 22 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}${'.'.repeat(i % 7)}`));
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  writeFileSync(join(folder, 'train.cjs'), program);
});

/** Runs the program; with `after`, kills it that many milliseconds into its training. */
const run = (out: string, { after, seed }: { after?: number; seed?: number } = {}) =>
  new Promise<{ killed: boolean; errors: string }>((done) => {
    const args = [join(folder, 'train.cjs'), folder, out, ...(seed === undefined ? [] : [String(seed)])];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    if (after !== undefined) child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), after));
    child.on('exit', (_, signal) => done({ killed: signal === 'SIGKILL', errors }));
  });

it('a run killed over and over loses nothing: it ends with the losses of the undisturbed run', async () => {
  const [whole, torn] = [join(folder, 'whole'), join(folder, 'torn')];
  expect((await run(whole)).errors).not.toMatch(/Error/);
  const random = Random.seeded(3);
  let kills = 0;
  for (;;) {
    const { killed, errors } = await run(torn, { after: kills < 40 ? random.below(250) : undefined });
    expect(errors).not.toMatch(/Error/);
    if (!killed) break;
    kills++;
  }
  expect(kills).toBeGreaterThan(10);
  const losses = (out: string) => JSON.parse(readFileSync(join(out, 'losses.json'), 'utf8'));
  expect(losses(torn)).toEqual(losses(whole));
});

it('two processes that train into one folder at once both come to their end, and each checkpoint is whole', async () => {
  const out = join(folder, 'both');
  const both = await Promise.all([run(out, { seed: 1 }), run(out, { seed: 2 })]);
  for (const { errors } of both) expect(errors).not.toMatch(/Error|could not be/);
  expect(both.some(({ errors }) => errors.includes('Another run saves into'))).toBe(true);
  const kept = readdirSync(out).filter((name) => name.startsWith('checkpoint'));
  expect(kept).toContain(`checkpoint-${STEPS}`);
  expect(kept.filter((name) => !/^checkpoint-\d+$/.test(name))).toEqual([]);
  for (const name of kept) expect(await faultOf(join(out, name), 'adapter_model.safetensors')).toBeUndefined();
});

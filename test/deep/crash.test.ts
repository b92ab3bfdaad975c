import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const lib = resolve(__dirname, '../../lib/index.js');
const STEPS = 60;

/** A program that trains with a checkpoint at every step, goes on from the last one there is, and writes its losses. */
const program = `
const fs = require('node:fs');
const { AutoModelForCausalLM, AutoTokenizer, load_dataset, LoraConfig, SFTConfig, SFTTrainer } = require(${JSON.stringify(lib)});
(async () => {
  const [folder, out] = process.argv.slice(2);
  const model = await AutoModelForCausalLM.from_pretrained(folder + '/model', { progress: false });
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const { train } = await load_dataset(folder + '/rows.jsonl');
  const args = new SFTConfig({ output_dir: out, max_steps: ${STEPS}, per_device_train_batch_size: 4, learning_rate: 1e-2,
    assistant_only_loss: true, save_strategy: 'steps', save_steps: 1, save_total_limit: 3, disable_tqdm: true });
  const peft_config = new LoraConfig({ r: 4, lora_dropout: 0.1, target_modules: 'all-linear' });
  const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: train, peft_config, args });
  const resume = fs.existsSync(out) && fs.readdirSync(out).some((name) => /^checkpoint-\\d+(\\.old)?$/.test(name));
  console.log('training');
  await trainer.train({ resume_from_checkpoint: resume });
  fs.writeFileSync(out + '/losses.json', JSON.stringify(trainer.run.series.loss));
})().catch((error) => { console.error(error); process.exit(1); });
`;

it('a run killed over and over loses nothing: it ends with the losses of the undisturbed run', async () => {
  const folder = scratch('crash');
  const { cpSync } = await import('node:fs');
  cpSync(await tinyLlama(5), join(folder, 'model'), { recursive: true });
  await tinyTokenizer().save_pretrained(folder);
  const rows = Array.from({ length: 22 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}${'.'.repeat(i % 7)}`));
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  writeFileSync(join(folder, 'train.cjs'), program);
  /** Runs the program; with `after`, kills it that many milliseconds into its training. */
  const run = (out: string, after?: number) =>
    new Promise<{ killed: boolean; errors: string }>((done) => {
      const child = spawn(process.execPath, [join(folder, 'train.cjs'), folder, out], { stdio: ['ignore', 'pipe', 'pipe'] });
      let errors = '';
      child.stderr.on('data', (data) => {
        errors += data;
      });
      if (after !== undefined) child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), after));
      child.on('exit', (_, signal) => done({ killed: signal === 'SIGKILL', errors }));
    });
  const [whole, torn] = [join(folder, 'whole'), join(folder, 'torn')];
  expect((await run(whole)).errors).not.toMatch(/Error/);
  const random = Random.seeded(3);
  let kills = 0;
  for (;;) {
    const { killed, errors } = await run(torn, kills < 40 ? random.below(250) : undefined);
    expect(errors).not.toMatch(/Error/);
    if (!killed) break;
    kills++;
  }
  expect(kills).toBeGreaterThan(10);
  const losses = (out: string) => JSON.parse(readFileSync(join(out, 'losses.json'), 'utf8'));
  expect(losses(torn)).toEqual(losses(whole));
});

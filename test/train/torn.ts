// A program that trains in a process of its own, so that it may be killed at any moment.
import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect } from 'vitest';
import { Random } from '../../src/core/random';
import { faultOf } from '../../src/train/checkpoint';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const lib = resolve(__dirname, '../../lib/index.js');
export const STEPS = 60;

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

const losses = (out: string) => JSON.parse(readFileSync(join(out, 'losses.json'), 'utf8'));

/** The folder with the program, its model and its rows. */
export async function prepared(): Promise<string> {
  const folder = scratch('crash');
  cpSync(await tinyLlama(5), join(folder, 'model'), { recursive: true });
  await tinyTokenizer().save_pretrained(folder);
  const rows = Array.from({ length: 22 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}${'.'.repeat(i % 7)}`));
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  writeFileSync(join(folder, 'train.cjs'), program);
  return folder;
}

/** Runs the program, `within` another; with `after`, kills it that many milliseconds into its training. */
export const run = (folder: string, out: string, { after, seed, within = [] }: { after?: number; seed?: number; within?: string[] } = {}) =>
  new Promise<{ killed: boolean; errors: string; output: string }>((done) => {
    const args = [join(folder, 'train.cjs'), folder, out, ...(seed === undefined ? [] : [String(seed)])];
    const [command, ...rest] = [...within, process.execPath, ...args];
    const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    if (after !== undefined) child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), after));
    child.on('exit', (_, signal) => done({ killed: signal === 'SIGKILL', errors, output }));
  });

/** Kills a run at random moments, so many times and at least `least` before it is through; it must end with the losses of the undisturbed run. */
export async function survives(
  folder: string,
  { kills: most, least, seed }: { kills: number; least: number; seed: number },
): Promise<void> {
  const [whole, torn] = [join(folder, `whole-${seed}`), join(folder, `torn-${seed}`)];
  expect((await run(folder, whole)).errors).not.toMatch(/Error/);
  const random = Random.seeded(seed);
  let kills = 0;
  for (;;) {
    const { killed, errors } = await run(folder, torn, { after: kills < most ? random.below(250) : undefined });
    expect(errors).not.toMatch(/Error/);
    if (!killed) break;
    kills++;
  }
  expect(kills).toBeGreaterThan(least);
  expect(losses(torn)).toEqual(losses(whole));
  for (const name of readdirSync(torn).filter((name) => name.startsWith('checkpoint')))
    expect(await faultOf(join(torn, name), 'adapter_model.safetensors'), name).toBeUndefined();
}

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { readSafetensors } from '../../src/formats/safetensors';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, SFTConfig, SFTTrainer } from '../../src/index';
import { scratch, tinyLlama } from '../tiny';

const root = resolve(__dirname, '../..');
const SIZES = { hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 3 };

/**
 * Trains all weights of a model in a process that may take `more` bytes of memory of its own than it has when the model is there: pages
 * of files do not count.
 */
function train(folder: string, optim: string, more: number): Promise<{ code: number | null; output: string }> {
  const script = `
    const { readFileSync } = require('node:fs');
    const { execFileSync } = require('node:child_process');
    const tb = require(${JSON.stringify(join(root, 'lib/index.js'))});
    (async () => {
      const model = await tb.AutoModelForCausalLM.from_pretrained(${JSON.stringify(folder)}, { progress: false, dtype: 'float32' });
      model.requires_grad_();
      const tokenizer = await tb.AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
      const args = new tb.SFTConfig({ output_dir: ${JSON.stringify(scratch('paged'))}, optim: ${JSON.stringify(optim)}, max_steps: 2, bf16: false,
        per_device_train_batch_size: 1, save_strategy: 'no', disable_tqdm: true });
      const train_dataset = tb.Dataset.from_list([{ input_ids: [1, 2, 3, 4, 5, 6, 7, 8] }, { input_ids: [8, 7, 6, 5, 4, 3, 2, 1] }]);
      const taken = Number(readFileSync('/proc/self/status', 'utf8').match(/VmData:\\s+(\\d+)/)[1]) * 1024;
      execFileSync('prlimit', ['--pid', String(process.pid), '--data=' + (taken + ${more})]);
      let mapped = 0;
      const count = () => {
        mapped = readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => / rw-s .*tunebook-paged.*deleted/.test(line)).length;
      };
      const trainer = new tb.SFTTrainer({ model, processing_class: tokenizer, train_dataset, args, callbacks: [{ on_step_end: count }] });
      await trainer.train();
      console.log('trained ' + trainer.run.series.loss.length + ' mapped ' + mapped);
    })().catch((error) => { console.log(error.name + ': ' + error.message); process.exit(1); });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
  return new Promise((done) => child.on('close', (code) => done({ code, output })));
}

it('paged optimizers train on where the plain one has no memory for its moments', async () => {
  const folder = await tinyLlama(9, SIZES);
  const parameters = 264 * 768 + 768 + 3 * (768 * (768 * 2 + 2 * 384) + 3 * 768 * 3072 + 2 * 768);
  // Room for gradients and two thirds of the moments.
  const more = Math.round(4 * parameters * (1 + 2 * 0.66));
  const plain = await train(folder, 'adamw_torch', more);
  expect(plain.code, plain.output.slice(-1000)).not.toBe(0);
  expect(plain.output).toMatch(/MemoryError|bad_alloc|OOM|out of memory|Out of memory/);
  for (const optim of ['paged_adamw_32bit', 'paged_adamw_8bit']) {
    const { code, output } = await train(folder, optim, more);
    expect(code, `${optim}: ${output.slice(-1000)}`).toBe(0);
    expect(output).toMatch(/trained 2 mapped [1-9]/);
  }
});

it('a paged run is the plain one to the bit, and goes on from its checkpoint to the bit', async () => {
  const folder = await tinyLlama(9, { hidden_size: 64, intermediate_size: 128 });
  const tokenizer = await AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
  const rows = Dataset.from_list(Array.from({ length: 6 }, (_, i) => ({ input_ids: [i, 2 * i + 1, 7, 9, 3 * i + 2] })));
  const run = async (optim: string, output_dir: string, resume: string | null = null) => {
    const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false, dtype: 'float32' });
    const args = {
      output_dir,
      optim,
      max_steps: 4,
      save_steps: 2,
      per_device_train_batch_size: 2,
      disable_tqdm: true,
      learning_rate: 1e-2,
    };
    const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: rows, args: new SFTConfig(args) });
    await trainer.train({ resume_from_checkpoint: resume });
    trainer.model.dispose();
    const last = join(output_dir, 'checkpoint-4');
    await readSafetensors(join(last, 'optimizer.safetensors'));
    return ['model.safetensors', 'optimizer.safetensors'].map((name) => readFileSync(join(last, name)).toString('base64'));
  };
  for (const [paged, plain] of [
    ['paged_adamw_32bit', 'adamw_torch'],
    ['paged_adamw_8bit', 'adamw_8bit'],
  ]) {
    const [first, second] = [scratch('paged'), scratch('paged')];
    const whole = await run(paged, first);
    expect(whole, paged).toEqual(await run(plain, scratch('plain')));
    expect(await run(paged, second, join(first, 'checkpoint-2')), `${paged}, resumed`).toEqual(whole);
  }
});

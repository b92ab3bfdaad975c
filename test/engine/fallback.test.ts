import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const root = resolve(__dirname, '../..');

/** Trains 3 steps and writes 5 tokens on one backend, in a process of its own; runs the compiled library. */
async function trainOn(backend: string, model: string, tokenizer: string) {
  const script = `
    const tb = require(${JSON.stringify(join(root, 'lib/index.js'))});
    (async () => {
      const model = await tb.AutoModelForCausalLM.from_pretrained(${JSON.stringify(model)}, { progress: false });
      const processing_class = await tb.AutoTokenizer.from_pretrained(${JSON.stringify(tokenizer)});
      const train_dataset = tb.Dataset.from_list(['one', 'two', 'three', 'four'].map((completion) => ({ prompt: 'count: ', completion })));
      const peft_config = new tb.LoraConfig({ r: 4, lora_dropout: 0.1, target_modules: 'all-linear' });
      const args = new tb.SFTConfig({ output_dir: ${JSON.stringify(scratch('out'))}, max_steps: 3, per_device_train_batch_size: 2, learning_rate: 1e-2, save_strategy: 'no', bf16: false });
      const trainer = new tb.SFTTrainer({ model, processing_class, train_dataset, peft_config, args });
      await trainer.train();
      const made = await tb.generate(model, [1, 2, 3], { max_new_tokens: 5, eos_token_id: [] });
      console.log(JSON.stringify({ backend: tb.backend(), losses: trainer.run.series.loss.map((p) => p[1]), made }));
    })();`;
  const result = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    env: { ...process.env, TUNEBOOK_BACKEND: backend, ...(swiftshader && { VK_ICD_FILENAMES: swiftshader }) },
  });
  expect(result.status, result.stderr.slice(-3000)).toBe(0);
  return JSON.parse(result.stdout.trim().split('\n').at(-1)!) as {
    backend: { name: string; native: boolean };
    losses: number[];
    made: number[];
  };
}

// A Vulkan driver that works on every CPU comes with the browser that set-up installs for the browser tests.
const swiftshader = ['chromium', 'chromium-browser', 'google-chrome']
  .map((name) => `/usr/lib/${name}/vk_swiftshader_icd.json`)
  .find((path) => existsSync(path));
const loader = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' }).stdout?.includes('libvulkan.so.1');
const others = ['cpu', 'wasm', ...(swiftshader && loader ? ['webgpu'] : [])];

it(`the same code trains and generates on ${others.join(', ')}, within 1e-4`, async () => {
  const model = await tinyLlama(9);
  const tokenizer = scratch('tok');
  await tinyTokenizer().save_pretrained(tokenizer);
  const native = await trainOn('tensorflow', model, tokenizer);
  expect(native.backend.native).toBe(true);
  for (const name of others) {
    const other = await trainOn(name, model, tokenizer);
    expect(other.backend).toMatchObject({ name, native: false });
    for (const [i, loss] of other.losses.entries()) expect(Math.abs(loss - native.losses[i]), `${name}, step ${i + 1}`).toBeLessThan(1e-4);
    expect(other.made).toEqual(native.made);
  }
});

it('without the native engine a warning says why, what it costs and what to do', async () => {
  const script = `require(${JSON.stringify(join(root, 'lib/index.js'))}).startBackend().then((b) => console.log(b.name));`;
  const result = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    env: { ...process.env, TUNEBOOK_CACHE: scratch('empty') },
  });
  expect(result.stdout.trim().split('\n').at(-1)).toBe('wasm');
  expect(result.stderr).toMatch(/native engine is not in use: .*npx tunebook setup.*times as long.*tiny model/s);
});

// npm run smoke:gpu: builds tfjs-node's sources against TensorFlow with CUDA (TUNEBOOK_BACKEND=gpu), trains three steps of the
// tutorial's model on the GPU and on the CPU, and compares losses and speed. Needs Linux and an NVIDIA driver.
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { main, root, SetupError, setUp } from './setup.mjs';

const script = `
  const tb = require('./lib/index.js');
  (async () => {
    const name = 'HuggingFaceTB/SmolLM2-135M-Instruct';
    const model = await tb.AutoModelForCausalLM.from_pretrained(name, { progress: false });
    const processing_class = await tb.AutoTokenizer.from_pretrained(name);
    const train_dataset = await tb.load_dataset('fine-tuning-qa', { split: 'train' });
    const peft_config = new tb.LoraConfig({ r: 16, target_modules: 'all-linear' });
    const args = new tb.SFTConfig({ output_dir: process.env.OUT, max_steps: 3, bf16: false, per_device_train_batch_size: 2, save_strategy: 'no', disable_tqdm: true });
    const trainer = new tb.SFTTrainer({ model, processing_class, train_dataset, peft_config, args });
    await trainer.train();
    const { loss, tokens_per_second } = trainer.run.series;
    console.log(JSON.stringify({ backend: tb.backend(), losses: loss.map((p) => p[1]), speed: tokens_per_second.at(-1)[1] }));
  })();`;

function train(backend) {
  const OUT = mkdtempSync(join(tmpdir(), 'tunebook-smoke-'));
  const env = { ...process.env, TUNEBOOK_BACKEND: backend, OUT };
  const result = spawnSync(process.execPath, ['-e', script], { cwd: root, encoding: 'utf8', env, maxBuffer: 1 << 26 });
  if (result.status !== 0) throw new SetupError(`Training with TUNEBOOK_BACKEND=${backend} failed:\n${result.stderr.slice(-2000)}`);
  return JSON.parse(result.stdout.trim().split('\n').at(-1));
}

await main(async () => {
  await setUp(['dependencies', 'native', 'build', 'model']);
  const before = process.env.TUNEBOOK_BACKEND;
  process.env.TUNEBOOK_BACKEND = 'gpu';
  await createRequire(import.meta.url)('./native.cjs').ensureNative(console.log);
  process.env.TUNEBOOK_BACKEND = before ?? '';
  const [gpu, cpu] = [train('gpu'), train('tensorflow')];
  const worst = Math.max(...gpu.losses.map((loss, i) => Math.abs(loss - cpu.losses[i])));
  console.log(
    `GPU: ${gpu.speed.toFixed(1)} tokens/s, CPU: ${cpu.speed.toFixed(1)} tokens/s; losses differ by ${worst.toExponential(1)} at most`,
  );
  // Products in TF32, TensorFlow's default on GPUs, keep 10 bits.
  if (!(worst < 0.02)) throw new SetupError(`The losses on the GPU are not the CPU's: ${gpu.losses} and ${cpu.losses}`);
  return 0;
});

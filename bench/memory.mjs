// What estimate_memory expects of a run, and the peak that the run then has: one of five set-ups. Prints both as one JSON object on its
// last line. See run.mjs.
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { folder, packaged, SETTINGS } from './memory_settings.mjs';

const require = createRequire(import.meta.url);
const tb = require('../lib/index.js');

if (process.argv[2] === 'convert') {
  if (!existsSync(join(folder, 'model.safetensors')))
    await (await tb.AutoModelForCausalLM.from_pretrained(packaged)).save_pretrained(folder);
  console.log('{}');
  process.exit(0);
}
const { name, ...setting } = SETTINGS[process.argv[2]];
const { dtype = 'auto', quantization = null, lora, batch, length, optimizer = 'adamw_torch_fused', checkpointing = null } = setting;
const { parts } = await tb.estimate_memory(name, setting);
const model = await tb.AutoModelForCausalLM.from_pretrained(name, {
  progress: false,
  dtype: lora === null ? 'float32' : dtype,
  quantization_config: quantization && new tb.BitsAndBytesConfig(quantization),
});
const tokenizer = await tb.AutoTokenizer.from_pretrained(packaged);
const rows = Array.from({ length: 2 * batch }, (_, r) => ({ input_ids: Array.from({ length }, (_, i) => (r * 977 + i * 7919) % 49000) }));
const trainer = new tb.SFTTrainer({
  model,
  processing_class: tokenizer,
  train_dataset: tb.Dataset.from_list(rows),
  peft_config: lora === null ? null : new tb.LoraConfig({ r: lora, lora_alpha: 2 * lora, target_modules: 'all-linear' }),
  args: new tb.SFTConfig({
    output_dir: mkdtempSync(join(tmpdir(), 'bench-')),
    ...{ per_device_train_batch_size: batch, max_steps: 2, optim: optimizer, gradient_checkpointing: checkpointing },
    ...{ save_strategy: 'no', disable_tqdm: true, max_length: null },
  }),
});
await trainer.train();
const peak = Number(readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s+(\d+)/)[1]) * 1024;
const expected = Object.fromEntries(Object.entries(parts).map(([part, { expected }]) => [part, Math.round(expected / 2 ** 20)]));
console.log(JSON.stringify({ expected, low: parts.total.low, high: parts.total.high, total: parts.total.expected, peak }));

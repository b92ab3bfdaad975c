// Our side of the bench: prints { tokensPerSecond, peakMiB } as its last line.
import { mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const {
  AutoModelForCausalLM,
  AutoTokenizer,
  Dataset,
  LoraConfig,
  SFTConfig,
  SFTTrainer,
  generate,
  load_dataset,
  memoryUsage,
} = require('../lib/index.js');
const { task, batch, length, steps } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const base = 'HuggingFaceTB/SmolLM2-135M-Instruct';
const model = await AutoModelForCausalLM.from_pretrained(base);
const tokenizer = await AutoTokenizer.from_pretrained(base);
const text = [...(await load_dataset('fine-tuning-qa', { split: 'train' }))].map((row) => tokenizer.renderChat(row.messages)).join('');
const tokens = tokenizer.encode(text);
const rows = Array.from({ length: batch }, (_, i) => ({ input_ids: tokens.slice(i * length, (i + 1) * length) }));
let tokensPerSecond;

if (task === 'train') {
  const args = new SFTConfig({
    output_dir: mkdtempSync(join(tmpdir(), 'bench-')),
    per_device_train_batch_size: batch,
    max_steps: steps + 1,
    learning_rate: 2e-4,
    save_strategy: 'no',
    disable_tqdm: true,
  });
  const peft_config = new LoraConfig({ r: 16, lora_alpha: 32, target_modules: 'all-linear' });
  const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: Dataset.from_list(rows), peft_config, args });
  await trainer.train();
  const speeds = trainer.run.series.tokens_per_second.slice(1).map(([, v]) => v); // the first step warms up
  tokensPerSecond = speeds.length / speeds.reduce((sum, v) => sum + 1 / v, 0);
} else {
  const prompt = tokens.slice(0, 64);
  await generate(model, prompt, { max_new_tokens: 8, eos_token_id: [] });
  const start = performance.now();
  await generate(model, prompt, { max_new_tokens: 64, eos_token_id: [] });
  tokensPerSecond = 64 / ((performance.now() - start) / 1000);
}
console.log(JSON.stringify({ tokensPerSecond, peakMiB: memoryUsage().peak / 2 ** 20 }));

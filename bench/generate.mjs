// Our side of `bench -- generate`: decoding, prefill, adapters, batches and memory of the packaged model, as one JSON object on the last line.
import { createRequire } from 'node:module';
import process from 'node:process';

const require = createRequire(import.meta.url);
const tb = require('../lib/index.js');
const { startBackend } = require('../lib/engine/backend.js');
const { startDecoding } = require('../lib/generate/decoding.js');

const MIB = 2 ** 20;
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
await startBackend();
const floorMiB = process.memoryUsage.rss() / MIB;
const model = await tb.AutoModelForCausalLM.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct', { progress: false });
const tokenizer = await tb.AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
const data = await tb.load_dataset('fine-tuning-qa', { split: 'train' });
const ids = tokenizer.encode([...data].map((row) => tokenizer.renderChat(row.messages)).join('')).slice(0, 512);

/** Seconds of each of `count` calls. */
async function times(count, call) {
  const all = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await call(i);
    all.push((performance.now() - start) / 1000);
  }
  return all;
}

/** Tokens a second after a prompt, of `sequences` together. */
async function decode(source, depth, sequences = 1, steps = 128) {
  const decoding = startDecoding(source, 2048);
  const parts = Array.from({ length: sequences }, (_, sequence) => sequence);
  await decoding.likeliest([{ sequence: 0, tokens: ids.slice(0, depth) }]);
  for (const sequence of parts.slice(1)) decoding.copy(0, sequence);
  let next = parts.map(() => ids[0]);
  const seconds = await times(steps, async () => {
    next = await decoding.likeliest(parts.map((sequence) => ({ sequence, tokens: [next[sequence]] })));
  });
  decoding.dispose();
  return sequences / median(seconds);
}

/** Seconds from a prompt to its first token. */
async function first(length) {
  const decoding = startDecoding(model, 2048);
  const seconds = await times(6, (sequence) => decoding.likeliest([{ sequence, tokens: ids.slice(0, length) }]));
  decoding.dispose();
  return median(seconds.slice(1));
}

const figures = { decode64: await decode(model, 64), decode512: await decode(model, 512) };
figures.prefill512 = 512 / (await first(512));
figures.first64ms = 1000 * (await first(64));
figures.eight = await decode(model, 64, 8);
figures.sixteen = await decode(model, 64, 16);
figures.peakMiB = process.resourceUsage().maxRSS / 1024;
figures.floorMiB = floorMiB;
const adapted = tb.get_peft_model(model, new tb.LoraConfig({ r: 16, lora_alpha: 32, target_modules: 'all-linear' }));
figures.adapter64 = await decode(adapted.base_model, 64);
console.log(JSON.stringify(figures));

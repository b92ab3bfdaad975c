// A model of Llama-2-7B's shape with random weights: written once as bf16 shards, quantised to NF4 with double quantisation while it loads,
// one QLoRA step of 512 tokens. Prints its figures as one JSON object on its last line. See run.mjs.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const require = createRequire(import.meta.url);
const tb = require('../lib/index.js');
const { writeSafetensors } = require('../lib/formats/safetensors.js');
const { cacheFolder } = require('../scripts/native.cjs');
const { layers, steps, length, rank, files } = JSON.parse(process.argv[2]);

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  ...{ vocab_size: 32000, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: layers },
  ...{ num_attention_heads: 32, num_key_value_heads: 32, max_position_embeddings: 4096, rms_norm_eps: 1e-5, rope_theta: 10000 },
  ...{ tie_word_embeddings: false, bos_token_id: 1, eos_token_id: 2, hidden_act: 'silu', dtype: 'bfloat16' },
};
const PER_SHARD = 8;

/** Normal numbers of a matrix's usual size as bf16: drawn once, and begun elsewhere in them for every tensor. */
function noise() {
  const count = 1 << 24;
  const bits = new Uint16Array(count);
  const one = new Float32Array(1);
  const word = new Uint32Array(one.buffer);
  let state = 12345;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 1) / 4294967297;
  };
  for (let i = 0; i < count; i++) {
    one[0] = 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    bits[i] = word[0] >>> 16;
  }
  let tensor = 0;
  return (size) => {
    const values = new Uint16Array(size);
    let from = (++tensor * 7919) % count;
    for (let at = 0; at < size; ) {
      const some = Math.min(size - at, count - from);
      values.set(bits.subarray(from, from + some), at);
      at += some;
      from = 0;
    }
    return new Uint8Array(values.buffer);
  };
}

/** Writes the shards where they are not yet. */
async function shards(folder) {
  const index = join(folder, 'model.safetensors.index.json');
  if (existsSync(index)) return;
  mkdirSync(folder, { recursive: true });
  const draw = noise();
  const { hidden_size: hidden, intermediate_size: inner, vocab_size: words } = CONFIG;
  const matrix = (name, rows, columns) => ({ name, shape: [rows, columns], type: 'BF16', data: () => draw(rows * columns) });
  const ones = (name) => ({ name, shape: [hidden], type: 'BF16', data: () => new Uint8Array(new Uint16Array(hidden).fill(0x3f80).buffer) });
  const block = (i) => {
    const at = `model.layers.${i}`;
    return [
      ...['q', 'k', 'v', 'o'].map((x) => matrix(`${at}.self_attn.${x}_proj.weight`, hidden, hidden)),
      ...['gate', 'up'].map((x) => matrix(`${at}.mlp.${x}_proj.weight`, inner, hidden)),
      matrix(`${at}.mlp.down_proj.weight`, hidden, inner),
      ...['input_layernorm', 'post_attention_layernorm'].map((x) => ones(`${at}.${x}.weight`)),
    ];
  };
  const parts = [[matrix('model.embed_tokens.weight', words, hidden), ones('model.norm.weight'), matrix('lm_head.weight', words, hidden)]];
  for (let i = 0; i < layers; i += PER_SHARD)
    parts.push(Array.from({ length: Math.min(PER_SHARD, layers - i) }, (_, j) => block(i + j)).flat());
  const weight_map = {};
  for (const [i, tensors] of parts.entries()) {
    const file = `model-${String(i + 1).padStart(5, '0')}-of-${String(parts.length).padStart(5, '0')}.safetensors`;
    await writeSafetensors(join(folder, file), tensors);
    for (const { name } of tensors) weight_map[name] = file;
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
  writeFileSync(index, JSON.stringify({ metadata: {}, weight_map }));
}

const gibibytes = () => Number(readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s+(\d+)/)[1]) / 2 ** 20;
const folder = join(cacheFolder(), 'bench', `Llama-2-7B-random-${layers}`);
if (files === 'remove') {
  rmSync(folder, { recursive: true, force: true });
  console.log('{}');
  process.exit(0);
}
if (files === 'make') {
  await shards(folder);
  console.log('{}');
  process.exit(0);
}
const start = performance.now();
const model = await tb.AutoModelForCausalLM.from_pretrained(folder, {
  progress: false,
  quantization_config: new tb.BitsAndBytesConfig({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true }),
});
const loaded = { loadSeconds: (performance.now() - start) / 1000, weightGiB: model.weightBytes() / 2 ** 30, loadPeakGiB: gibibytes() };
const tokenizer = await tb.AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
const input_ids = Array.from({ length }, (_, i) => 3 + ((i * 7919) % 31000));
const trainer = new tb.SFTTrainer({
  model,
  processing_class: tokenizer,
  train_dataset: tb.Dataset.from_list([{ input_ids }]),
  peft_config: new tb.LoraConfig({ r: rank, lora_alpha: 2 * rank, target_modules: 'all-linear' }),
  args: new tb.SFTConfig({
    output_dir: mkdtempSync(join(tmpdir(), 'bench-')),
    ...{ per_device_train_batch_size: 1, max_steps: steps, learning_rate: 2e-4, optim: 'paged_adamw_8bit', gradient_checkpointing: true },
    ...{ save_strategy: 'no', disable_tqdm: true, max_length: null },
  }),
});
const ends = [performance.now()];
const off = tb.on('run', ({ what }) => what === 'step' && ends.push(performance.now()));
await trainer.train();
off();
const seconds = ends.slice(1).map((end, i) => (end - ends[i]) / 1000);
console.log(
  JSON.stringify({ ...loaded, secondsPerStep: Math.min(...seconds), stepPeakGiB: gibibytes(), loss: trainer.run.series.loss.at(-1)[1] }),
);

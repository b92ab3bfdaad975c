// Our side of the bench: does one task (see run.mjs) and prints its figures as one JSON object on its last line.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { stepGflop } from './arithmetic.mjs';

const require = createRequire(import.meta.url);
const tb = require('../lib/index.js');
const { task, batch, length, steps, rank, dtype, base, folder, trace, peft } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const precision = dtype === 'bfloat16' ? 'bf16' : 'fp32';
const name = 'HuggingFaceTB/SmolLM2-135M-Instruct';
const nf4 = { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: task === 'qlora' };
const quantization_config = base === 'nf4' ? new tb.BitsAndBytesConfig(nf4) : null;
if (task === 'convert') {
  // The plain files that a 4-bit base is packed from.
  const whole = await tb.AutoModelForCausalLM.from_pretrained(name);
  await whole.save_pretrained(folder);
  console.log('{}');
  process.exit(0);
}
const model = await tb.AutoModelForCausalLM.from_pretrained(base === 'nf4' ? folder : name, {
  quantization_config,
  dtype: task === 'full' ? 'float32' : base === 'bf16' ? 'bfloat16' : 'auto',
});
const tokenizer = await tb.AutoTokenizer.from_pretrained(name);
const data = await tb.load_dataset('fine-tuning-qa', { split: 'train' });
const tokens = tokenizer.encode([...data].map((row) => tokenizer.renderChat(row.messages)).join(''));
const packed = Array.from({ length: batch }, (_, i) => ({ input_ids: tokens.slice(i * length, (i + 1) * length) }));

const trainer = (train_dataset, options) =>
  new tb.SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset,
    peft_config: task === 'full' ? null : (peft ?? new tb.LoraConfig({ r: rank, lora_alpha: 2 * rank, target_modules: 'all-linear' })),
    args: new tb.SFTConfig({
      output_dir: mkdtempSync(join(tmpdir(), 'bench-')),
      per_device_train_batch_size: batch,
      max_steps: steps + 1,
      learning_rate: 2e-4,
      save_strategy: 'no',
      disable_tqdm: true,
      max_length: null,
      bf16: precision === 'bf16',
      ...options,
    }),
  });

/** Trains and returns seconds between the end of the first step, which warms up, and the end of the last. */
async function timeSteps(run, around = (f) => f()) {
  const ends = [];
  const off = tb.on('run', ({ what }) => what === 'step' && ends.push(performance.now()));
  const result = await around(() => run.train());
  off();
  return { seconds: (ends.at(-1) - ends[0]) / 1000, first: ends[0], last: ends.at(-1), result };
}

async function train() {
  const { seconds } = await timeSteps(trainer(tb.Dataset.from_list(packed)));
  const peakGflops = tb.peakGflops(precision);
  const gflops = (steps * stepGflop(model.config, batch, length, task === 'full' ? 'all' : rank)) / seconds;
  return { tokensPerSecond: (steps * batch * length) / seconds, gflops, peakGflops, shareOfPeak: gflops / peakGflops };
}

const TASKS = {
  train,
  full: train,
  qlora: train,
  /** The project's rows as they are: mixed lengths, loss on the answers alone. */
  async sft() {
    // In order, so that the steps after the first, the last of which begins anew, go through just the peer's rows.
    const rows = tb.Dataset.from_list([...data].slice(0, steps * batch));
    const { seconds } = await timeSteps(trainer(rows, { assistant_only_loss: true, train_sampling_strategy: 'sequential' }));
    return { rowsPerSecond: (steps * batch) / seconds };
  },
  /** The same as train with an adapter of any method; and which linear layers it adapts, by the ends of their names. */
  async peft() {
    const run = trainer(tb.Dataset.from_list(packed));
    const { seconds } = await timeSteps(run);
    const linear = [...model.namedModules()].filter(([, module]) => module.lowRank && module.adapted);
    return {
      tokensPerSecond: (steps * batch * length) / seconds,
      trained: run.model.get_nb_trainable_parameters()[0],
      modules: [...new Set(linear.map(([path]) => path.replace(/^.*\./, '')))],
    };
  },
  /** Training steps by op. */
  async profile() {
    const run = trainer(tb.Dataset.from_list(packed));
    const begin = performance.now();
    const { first, last, result } = await timeSteps(run, tb.profiled);
    const profile = result.profile.between((first - begin) * 1000, (last - begin) * 1000);
    if (trace) writeFileSync(trace, JSON.stringify(profile.chromeTrace()));
    return { outside: profile.outside, byOp: profile.byOp(), seconds: profile.duration / 1e6 };
  },
};

const figures = await TASKS[task]();
console.log(JSON.stringify({ ...figures, peakMiB: tb.memoryUsage().peak / 2 ** 20 }));

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { AutoModelForCausalLM, Dataset, get_peft_model, LoraConfig, type PeftModel, SFTConfig, SFTTrainer } from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { groupsOf } from '../../src/train/groups';
import type { SFTOptions } from '../../src/trainers/sft_config';
import { peer } from '../peer';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

type Log = Record<string, number>[];
interface Theirs {
  log: Log;
  rows: number[][];
  decays: string[];
  files: string[] | null;
  state: Record<string, string> | null;
}
interface Case {
  rows: Record<string, unknown>[];
  eval?: Record<string, unknown>[];
  lora?: boolean;
  args: Partial<SFTOptions>;
  /** What only one side has under that name. */
  ours?: Partial<SFTOptions>;
  loraplus?: object;
  metrics?: boolean;
}

const answers = (n: number) =>
  Array.from({ length: n }, (_, i) => ({ prompt: `What is ${i} plus ${i}?`, completion: ` It is ${2 * i}${'!'.repeat(i % 5)}` }));
const texts = (n: number) => Array.from({ length: n }, (_, i) => ({ text: `${i} plus ${i} is ${2 * i}${', as we know'.repeat(i % 4)}.` }));
const chats = Array.from({ length: 12 }, (_, i) => chatRow(`${i} and ${i}?`, `${2 * i}${'.'.repeat(i % 3)}`));

const COMMON = { learning_rate: 5e-3, logging_steps: 1, save_strategy: 'no' as const, per_device_train_batch_size: 4, max_length: 64 };
const RUNS: Record<string, Case> = {
  'LoRA on completions, accumulated, cosine with warmup, decay': {
    rows: answers(22),
    lora: true,
    args: { ...COMMON, max_steps: 50, gradient_accumulation_steps: 2, lr_scheduler_type: 'cosine', warmup_steps: 5, weight_decay: 0.1 },
  },
  'all weights on packed texts, evaluated and saved': {
    rows: texts(60),
    eval: texts(7),
    args: {
      ...COMMON,
      ...{ max_steps: 50, packing: true, weight_decay: 0.05, per_device_train_batch_size: 2, learning_rate: 1e-3 },
      ...({ eval_strategy: 'steps', eval_steps: 25, save_strategy: 'steps', save_steps: 25, eval_packing: false } as object),
    },
  },
  'LoRA on conversations, with LoRA+, smoothed labels': {
    rows: chats,
    lora: true,
    args: { ...COMMON, max_steps: 12, label_smoothing_factor: 0.1, weight_decay: 0.1, lr_scheduler_type: 'constant' },
    ours: { loraplus_lr_ratio: 8, loraplus_lr_embedding: 1e-5 },
    loraplus: { loraplus_lr_ratio: 8, loraplus_lr_embedding: 1e-5 },
  },
  'all weights by dft, the last batch left out, metrics of predictions': {
    rows: answers(10),
    eval: answers(3),
    metrics: true,
    args: {
      ...COMMON,
      ...{
        max_steps: 8,
        loss_type: 'dft',
        dataloader_drop_last: true,
        logging_strategy: 'epoch',
        per_device_eval_batch_size: 3,
        learning_rate: 1e-3,
        eval_strategy: 'epoch',
      },
    },
  },
};

let folder: string;
const ours: Record<string, { trainer: SFTTrainer<CausalLM | PeftModel<CausalLM>>; out: string }> = {};
let theirs: Record<string, Theirs>;

beforeAll(async () => {
  folder = await tinyLlama(3);
  const tokenizer = tinyTokenizer();
  await tokenizer.save_pretrained(folder);
  const cases: object[] = [];
  for (const [name, { rows, eval: test, lora, args, ours: own, loraplus, metrics }] of Object.entries(RUNS)) {
    const base = await AutoModelForCausalLM.from_pretrained(folder, { progress: false, ...(lora ? {} : { dtype: 'float32' }) });
    const [adapter, out] = [scratch('adapter'), scratch('trl')];
    const targets = ['q_proj', 'down_proj', 'embed_tokens'];
    const model = lora ? get_peft_model(base, new LoraConfig({ r: 4, lora_alpha: 8, target_modules: targets })) : base;
    if (lora) await (model as PeftModel<CausalLM>).save_pretrained(adapter);
    const { eval_packing, ...known } = args as Record<string, unknown>;
    const sequential = { train_sampling_strategy: 'sequential', bf16: false, disable_tqdm: true, output_dir: out };
    const trainer = new SFTTrainer({
      model,
      processing_class: tokenizer,
      train_dataset: Dataset.from_list(rows),
      eval_dataset: test ? Dataset.from_list(test) : null,
      args: new SFTConfig({ ...known, ...own, ...sequential }),
      compute_metrics: metrics ? meanLogit : null,
    });
    await trainer.train();
    ours[name] = { trainer, out };
    cases.push({ model: folder, tokenizer: folder, adapter: lora ? adapter : null, rows, eval: test, args, loraplus, metrics });
  }
  const all = peer<Theirs[]>('train', { cases }, 'peer_trl.py');
  theirs = Object.fromEntries(Object.keys(RUNS).map((name, i) => [name, all[i]]));
}, 600_000);

/** The mean of all logits at places with labels, and how many there are. */
function meanLogit({ predictions, label_ids }: { predictions: Float32Array[][]; label_ids: number[][] }) {
  let [sum, n, labels] = [0, 0, 0];
  for (const [i, row] of label_ids.entries())
    for (const [j, label] of row.entries()) {
      if (label === -100) continue;
      labels++;
      for (const logit of predictions[i][j]) [sum, n] = [sum + logit, n + 1];
    }
  return { mean_logit: sum / n, labels };
}

it.each(Object.keys(RUNS))('trains as TRL: %s', (name) => {
  const { log } = theirs[name];
  const { state } = ours[name].trainer;
  const accumulates = (RUNS[name].args.gradient_accumulation_steps ?? 1) > 1;
  expect(state.log_history.map((row) => Object.keys(row).sort())).toEqual(log.map((row) => Object.keys(row).sort()));
  for (const [i, row] of log.entries())
    for (const [key, value] of Object.entries(row)) {
      const [mine, at] = [state.log_history[i][key], `${key} of entry ${i}`];
      if (/runtime|per_second/.test(key)) expect(mine, at).toBeGreaterThan(0);
      else if (key === 'num_tokens' || key === 'eval_num_tokens' || key === 'step' || key === 'eval_labels') expect(mine, at).toBe(value);
      else if (key === 'epoch') expect(mine, at).toBeCloseTo(value, 9);
      else if (key === 'learning_rate') expect(Math.abs(mine - value), at).toBeLessThan(1e-9);
      else if (key === 'grad_norm') expect(Math.abs(mine / value - 1), at).toBeLessThan(1e-3);
      // TRL takes the mean of the means of accumulated batches, here each token counts alike.
      else if (/entropy|accuracy/.test(key)) expect(Math.abs(mine - value), at).toBeLessThan(accumulates ? 0.1 : 2e-3);
      else if (key === 'total_flos') expect(mine, at).toBeGreaterThan(0);
      else expect(Math.abs(mine - value), at).toBeLessThan(2e-3);
    }
});

it('a checkpoint has the files and keys of transformers', () => {
  const name = 'all weights on packed texts, evaluated and saved';
  const { files, state } = theirs[name];
  const folder = join(ours[name].out, 'checkpoint-50');
  // Pickles of torch, and what is ours in their place: decisions.md says why.
  const torch = ['optimizer.pt', 'scheduler.pt', 'rng_state.pth', 'training_args.bin'];
  const own = ['optimizer.safetensors', 'training_args.json', 'run.json'];
  const others = (names: readonly string[], without: string[]) =>
    names.filter((one) => !without.includes(one) && one !== 'README.md').sort();
  expect(others(readdirSync(folder), own)).toEqual(others(files as string[], torch));
  expect(files).toEqual(expect.arrayContaining(torch));
  const saved = JSON.parse(readFileSync(join(folder, 'trainer_state.json'), 'utf8')) as Record<string, unknown>;
  const typeOf = (value: unknown) =>
    value === null
      ? 'NoneType'
      : Array.isArray(value)
        ? 'list'
        : typeof value === 'object'
          ? 'dict'
          : typeof value === 'number'
            ? 'number'
            : { boolean: 'bool', string: 'str' }[typeof value as 'boolean'];
  const plain = (type: string) => (type === 'int' || type === 'float' ? 'number' : type);
  expect(Object.fromEntries(Object.entries(saved).map(([key, value]) => [key, typeOf(value)]))).toEqual(
    Object.fromEntries(Object.entries(state as Record<string, string>).map(([key, type]) => [key, plain(type)])),
  );
});

it('what decays is what decays in transformers', () => {
  for (const [name, { decays }] of Object.entries(theirs)) {
    const { model, args } = ours[name].trainer;
    const of = groupsOf({ ...args, loraplus_lr_ratio: null, weight_decay: 1 }, model);
    const names = [...model.namedParameters().keys()];
    expect(names.filter((one) => of(one).weight_decay).sort(), name).toEqual([...decays].sort());
  }
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { resolveModel } from '../../src/hub/resolve';
import { AutoModelForCausalLM, AutoTokenizer, Dataset, get_peft_model, LoraConfig, load_dataset, PeftModel } from '../../src/index';
import { peer } from '../peer';
import { chatRow, printed, scratch, tinyLlama, tinyTokenizer } from '../tiny';
import { expectSameTraining, type Setting, trainBoth } from './train_both';

const BASE = 'HuggingFaceTB/SmolLM2-135M-Instruct';

async function smol(steps: number, dtype: Setting['dtype'], shortest?: number): Promise<Setting> {
  const { train, test } = await load_dataset('fine-tuning-qa');
  const tokenizer = await AutoTokenizer.from_pretrained(BASE);
  const common = { path: (await resolveModel(BASE)).path, tokenizer, steps, dtype, lr: 2e-4 };
  if (!shortest) return { ...common, train };
  // The shortest rows: torch takes seconds for a short bf16 step where the CPU has no instructions for it.
  const short = (rows: Dataset, n: number) => {
    const length = (row: Record<string, unknown>) => tokenizer.renderChat(row.messages as never).length;
    return Dataset.from_list([...rows].sort((a, b) => length(a) - length(b)).slice(0, n));
  };
  return { ...common, train: short(train, shortest), test };
}

it('20 steps of LoRA on SmolLM2: each loss within 1e-3 of PEFT in fp32', async () => {
  const [both] = await trainBoth([await smol(20, 'float32')]);
  expectSameTraining(both);
});

it('5 steps of full fine-tuning on SmolLM2: each loss within 1e-3 of transformers in fp32', async () => {
  const [both] = await trainBoth([{ ...(await smol(5, 'float32')), full: true, lr: 5e-5 }]);
  expectSameTraining(both, 'transformers');
});

const within = async (setting: Setting) => {
  const [{ ours, theirs }] = await trainBoth([setting]);
  console.log(`evaluation loss after ${setting.steps} steps: ${ours.eval_loss} here, ${theirs.eval_loss} in PEFT ${setting.dtype}`);
  expect(Math.abs(ours.eval_loss - theirs.eval_loss)).toBeLessThan(0.01);
  expect(ours.losses.at(-1)!).toBeLessThan(ours.losses[0]);
};

it('100 steps end with an evaluation loss within 0.01 of PEFT in bf16: a small random Llama', async () => {
  const row = (i: number) => chatRow(`What is ${i} plus one?`, `${i} plus one is ${i + 1}.`);
  const rows = (from: number, n: number) => Dataset.from_list(Array.from({ length: n }, (_, i) => row(from + i)));
  const path = await tinyLlama(12, { hidden_size: 64, intermediate_size: 128, num_hidden_layers: 3 });
  await within({ path, tokenizer: tinyTokenizer(), train: rows(0, 60), test: rows(70, 10), steps: 100, dtype: 'bfloat16' });
});

it('100 steps end with an evaluation loss within 0.01 of PEFT in bf16: SmolLM2', async () => within(await smol(100, 'bfloat16', 120)));

it('adapters open on the other side with the same logits and without a warning', async () => {
  const folder = await tinyLlama(4, { tie_word_embeddings: false });
  const ids = [[1, 2, 3, 4, 5, 6]];
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const logits = () => tf.tidy(() => Array.from(model.forward(tf.tensor2d(ids, [1, 6], 'int32')).dataSync()));
  const [ours, theirs] = [scratch('ours'), scratch('theirs')];
  const peft = get_peft_model(model, new LoraConfig({ r: 4, lora_alpha: 8, target_modules: 'all-linear' }));
  for (const [name, p] of peft.namedParameters())
    if (name.includes('lora_B')) p.assign(tf.keep(tf.randomNormal(p.tensor.shape, 0, 0.2, 'float32', 9)));
  const expected = logits();
  await peft.save_pretrained(ours);
  peft.unload();
  const config = { r: 6, lora_alpha: 12, target_modules: 'all-linear', task_type: 'CAUSAL_LM', use_rslora: true };
  const result = peer<{ logits: number[]; warnings: string[]; their_logits: number[]; printed: string; config_keys: string[] }>(
    'adapters',
    { model: folder, ours, theirs, ids, config },
  );
  const worst = (a: number[], b: number[]) => Math.max(...a.map((v, i) => Math.abs(v - b[i])));
  expect(result.warnings).toEqual([]);
  expect(worst(result.logits, expected)).toBeLessThan(1e-4);
  const loaded = await PeftModel.from_pretrained(model, theirs);
  expect(worst(result.their_logits, logits())).toBeLessThan(1e-4);
  expect(printed(() => loaded.print_trainable_parameters())).toBe(result.printed);
  const known = Object.keys(JSON.parse(readFileSync(join(ours, 'adapter_config.json'), 'utf8')));
  expect(result.config_keys.filter((key) => !known.includes(key) && key !== 'peft_version')).toEqual([]);
  loaded.unload();
});

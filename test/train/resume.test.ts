// 10 steps and 10 more are 20 to the bit: every optimizer, with packing, accumulation and rows in random order, in the middle of an epoch.
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AutoModelForCausalLM, Dataset, LoraConfig, SFTConfig, SFTTrainer } from '../../src/index';
import { OPTIMIZERS } from '../../src/train/optimizers';
import { chatRow, scratch } from '../tiny';
import { tinyModel, tokenizer } from './small_runs';

const rows = Dataset.from_list(
  Array.from({ length: 37 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}${'.'.repeat(i % 9)}`)),
);

async function make(output_dir: string, args: Record<string, unknown>): Promise<SFTTrainer> {
  return new SFTTrainer({
    model: await AutoModelForCausalLM.from_pretrained(await tinyModel(), { progress: false }),
    processing_class: tokenizer,
    train_dataset: rows,
    peft_config: new LoraConfig({ r: 4, lora_dropout: 0.1, target_modules: 'all-linear' }),
    args: new SFTConfig({
      ...{ output_dir, disable_tqdm: true, report_to: [], max_steps: 20, save_strategy: 'steps', save_steps: 10, learning_rate: 3e-3 },
      ...{ packing: true, max_length: 150, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, assistant_only_loss: true },
      ...args,
    }),
  });
}

const figures = ({ run }: SFTTrainer) => ({ loss: run!.series.loss, norm: run!.series.grad_norm });
const names = [...new Map(Object.entries(OPTIMIZERS).map(([name, kind]) => [JSON.stringify(kind), name])).values(), 'paged_adamw_8bit'];

it.each([...new Set([...names, 'adamw_torch', 'adafactor', 'sgd', 'lion_32bit', 'lion_8bit', 'adamw_bnb_8bit'])].map((optim) => [optim]))(
  '%s',
  async (optim) => {
    const output_dir = scratch('resume');
    const args = {
      optim,
      ...(optim === 'sgd' ? { optim_args: 'momentum=0.9' } : {}),
      lr_scheduler_type: 'cosine_with_restarts',
      warmup_steps: 3,
    };
    const whole = await make(output_dir, args);
    await whole.train();
    expect(whole.state!.log_history.find(({ step }) => step === 10)!.epoch % 1, 'in the middle of an epoch').not.toBe(0);
    const again = await make(output_dir, args);
    await again.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-10') });
    expect(figures(again)).toEqual(figures(whole));
    for (const [name, { tensor }] of again.model.namedParameters())
      expect([...tensor.dataSync()], name).toEqual([...whole.model.namedParameters().get(name)!.tensor.dataSync()]);
    for (const { model } of [whole, again]) model.unload();
  },
);

it('goes on with the micro-batches of its checkpoint, whatever memory there is now, and says no where batches are others', async () => {
  const output_dir = scratch('plan');
  const args = { memory_limit: 1, optim: 'adamw_torch' };
  const whole = await make(output_dir, args);
  await whole.train();
  const roomy = await make(output_dir, { ...args, memory_limit: 0.6 });
  await roomy.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-10') });
  expect(figures(roomy)).toEqual(figures(whole));
  const other = await make(output_dir, { ...args, per_device_train_batch_size: 4 });
  await expect(other.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-10') })).rejects.toThrow(
    /made with other data or batches/,
  );
  for (const { model } of [whole, roomy, other]) model.unload();
});

it('a step of many accumulated batches is the step of the large batch: losses and weights', async () => {
  const plain = {
    packing: false,
    max_length: null,
    lr_scheduler_type: 'constant',
    max_steps: 6,
    bf16: false,
    save_strategy: 'no',
    train_sampling_strategy: 'sequential',
  };
  const large = await make(scratch('large'), { ...plain, per_device_train_batch_size: 12, gradient_accumulation_steps: 1 });
  const small = await make(scratch('small'), { ...plain, per_device_train_batch_size: 3, gradient_accumulation_steps: 4 });
  await large.train();
  await small.train();
  for (const [i, [, loss]] of small.run!.series.loss.entries()) expect(Math.abs(loss - large.run!.series.loss[i][1])).toBeLessThan(1e-5);
  for (const [name, { tensor }] of small.model.namedParameters()) {
    const other = large.model.namedParameters().get(name)!.tensor.dataSync();
    for (const [i, value] of tensor.dataSync().entries()) expect(Math.abs(value - other[i]), name).toBeLessThan(1e-5);
  }
  for (const { model } of [large, small]) model.unload();
});

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import { collate, textsOf } from '../../src/data/collate';
import { prepareSft } from '../../src/data/sft';
import { Handle } from '../../src/engine/backend';
import * as tf from '../../src/engine/tf';
import { Dataset, evaluate, get_peft_model, LoraConfig, type PeftModel, SFTConfig, SFTTrainer } from '../../src/index';
import { AutoModelForCausalLM } from '../../src/models/auto';
import type { CausalLM } from '../../src/models/causal_lm';
import type { LlamaForCausalLM } from '../../src/models/llama';
import { stepGradients } from '../../src/train/gradients';
import { sft } from '../../src/train/objectives/sft';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const rows = Dataset.from_list(
  Array.from({ length: 22 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}${'.'.repeat(i % 7)}`)),
);
let folder: string;

beforeAll(async () => {
  folder = await tinyLlama(3);
});

const quiet = { disable_tqdm: true, assistant_only_loss: true, learning_rate: 1e-2, save_strategy: 'no' as const };
async function make(args: Record<string, unknown> = {}, more: Record<string, unknown> = {}): Promise<SFTTrainer> {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  return new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: rows,
    peft_config: new LoraConfig({ r: 4, lora_alpha: 8, lora_dropout: 0.1, target_modules: 'all-linear' }),
    args: new SFTConfig({ ...quiet, output_dir: scratch('out'), max_steps: 12, per_device_train_batch_size: 4, ...args }),
    ...more,
  });
}
const losses = (trainer: Pick<SFTTrainer, 'run'>) => trainer.run!.series.loss.map(([, value]) => value);
const values = (model: PeftModel<CausalLM>) => [...model.namedParameters()].map(([name, p]) => [name, Array.from(p.tensor.dataSync())]);
const free = (trainer: SFTTrainer) => {
  trainer.model.unload();
  trainer.model.base_model.dispose();
};

it('learns, and the same seed gives the same losses bit for bit', async () => {
  const [a, b] = [await make(), await make()];
  await a.train();
  await b.train();
  expect(losses(a)).toEqual(losses(b));
  expect(values(a.model)).toEqual(values(b.model));
  expect(losses(a).at(-1)!).toBeLessThan(losses(a)[0] * 0.95);
  const other = await make({ seed: 7 });
  await other.train();
  expect(losses(other)).not.toEqual(losses(a));
  for (const trainer of [a, b, other]) free(trainer);
});

it('a trainer can be made again with other options: its adapter takes the place of the last, unless a run is on', async () => {
  const first = await make();
  const model = first.model.base_model;
  const again = (r: number | null) => {
    const peft_config = r === null ? null : new LoraConfig({ r, lora_alpha: 8, lora_dropout: 0.1, target_modules: 'all-linear' });
    const args = new SFTConfig({ ...quiet, output_dir: scratch('out'), max_steps: 12, per_device_train_batch_size: 4 });
    return new SFTTrainer({ model, processing_class: tokenizer, train_dataset: rows, peft_config, args });
  };
  const held = tf.memory().numTensors;
  await first.train();
  const running = first.train();
  expect(() => again(2)).toThrow(/a training run is on/);
  await vi.waitFor(() => expect(first.run?.status).toBe('running'), { interval: 1 });
  const paused = first.pause();
  expect(() => again(2)).toThrow(/a training run is on with this model \(running or paused\)/);
  await paused;
  expect(() => again(2)).toThrow(/trainer\.stop\(\)/);
  for (const pull of [() => first.model.unload(), () => first.model.delete_adapter('default'), () => first.model.merge_adapter()])
    await expect((async () => pull())()).rejects.toThrow(/a training run is on/);
  await first.stop();
  expect((await running).stopped).toBe(true);

  const second = again(4);
  expect(tf.memory().numTensors).toBe(held);
  await expect(first.train()).rejects.toThrow(/nothing to train any more/);
  const fresh = await make();
  for (const trainer of [second, fresh]) await trainer.train();
  expect(losses(second)).toEqual(losses(fresh));
  // Without a peft_config the whole model is trained, and no adapter beside it.
  const whole = again(null);
  expect([...whole.model.namedParameters().keys()].filter((name) => /lora/.test(name))).toEqual([]);
  expect(second.model.active_adapters).toEqual([]);
  model.dispose();
  free(fresh);
});

it('stop and resume equal the uninterrupted run bit for bit, also across an epoch', async () => {
  const whole = await make({ save_strategy: 'steps', save_steps: 100, lr_scheduler_type: 'cosine', warmup_steps: 2, weight_decay: 0.01 });
  await whole.train();
  const output_dir = scratch('resume');
  const options = { output_dir, lr_scheduler_type: 'cosine', warmup_steps: 2, weight_decay: 0.01 };
  const first = await make(options);
  const listener = setInterval(() => first.run && first.run.step >= 5 && first.stop(), 0);
  const result = await first.train();
  clearInterval(listener);
  expect(result.stopped).toBe(true);
  expect(result.checkpoint).toBe(join(output_dir, `checkpoint-${result.global_step}`));
  expect(result.global_step).toBeLessThan(12);
  const second = await make(options);
  await second.train({ resume_from_checkpoint: true });
  expect(losses(second)).toEqual(losses(whole));
  expect(values(second.model)).toEqual(values(whole.model));
  for (const trainer of [whole, first, second]) free(trainer);
});

it('an interrupt signal finishes the step, saves and resolves', async () => {
  const trainer = await make({ max_steps: 500 });
  const timer = setInterval(() => {
    if ((trainer.run?.step ?? 0) >= 2) {
      clearInterval(timer);
      process.kill(process.pid, 'SIGINT');
    }
  }, 1);
  const result = await trainer.train();
  expect(result.stopped).toBe(true);
  expect(readdirSync(result.checkpoint!).sort()).toEqual([
    'README.md',
    'adapter_config.json',
    'adapter_model.safetensors',
    'chat_template.jinja',
    'optimizer.safetensors',
    'run.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'trainer_state.json',
    'training_args.json',
  ]);
  expect(process.listenerCount('SIGINT')).toBe(0);
  const state = JSON.parse(readFileSync(join(result.checkpoint!, 'trainer_state.json'), 'utf8'));
  expect(Object.keys(state)).toEqual(Object.keys(state).sort());
  expect(state.global_step).toBe(result.global_step);
  free(trainer);
});

it('without an adapter all weights are trained; saved, loaded and resumed they give the same losses', async () => {
  const full = async (args: Record<string, unknown>, parts: (model: CausalLM) => void = () => {}) => {
    const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
    parts(model);
    const config = new SFTConfig({ ...quiet, learning_rate: 1e-3, max_steps: 6, per_device_train_batch_size: 4, ...args });
    return new SFTTrainer<CausalLM>({ model, processing_class: tokenizer, train_dataset: rows, args: config });
  };
  const output_dir = scratch('full');
  const options = { output_dir, save_strategy: 'steps', save_steps: 3 };
  const whole = await full(options);
  expect([...whole.model.namedParameters()].length).toBe(2 * 9 + 2);
  await whole.train();
  expect(losses(whole).at(-1)!).toBeLessThan(losses(whole)[0]);
  const again = await full(options);
  await again.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-3') });
  expect(losses(again)).toEqual(losses(whole));
  const loaded = await AutoModelForCausalLM.from_pretrained(join(output_dir, 'checkpoint-6'), { progress: false });
  const ids = () => tf.tensor2d([[72, 101, 108, 108, 111]], [1, 5], 'int32');
  const logits = (model: CausalLM) => Array.from(tf.tidy(() => model.forward(ids()).dataSync()));
  expect(logits(loaded)).toEqual(logits(whole.model));
  const recomputed = await full({ output_dir: scratch('full'), gradient_checkpointing: true });
  await recomputed.train();
  for (const [i, loss] of losses(recomputed).entries()) expect(Math.abs(loss / losses(whole)[i] - 1)).toBeLessThan(1e-5);
  // Only what its owner chose.
  const norm = await full({ output_dir: scratch('full') }, (model) => (model as LlamaForCausalLM).model.layers[1].mlp.requires_grad_());
  await norm.train();
  expect([...norm.model.namedParameters().keys()]).toEqual(['gate', 'up', 'down'].map((name) => `model.layers.1.mlp.${name}_proj.weight`));
  expect(losses(norm).at(-1)!).toBeLessThan(losses(norm)[0]);
  for (const model of [whole.model, again.model, loaded, recomputed.model, norm.model]) model.dispose();
});

it('the loss does not depend on how a step is split: micro-batches, accumulation, recomputation', async () => {
  const reference = await make(
    { per_device_train_batch_size: 8, max_steps: 6 },
    { peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear' }) },
  );
  await reference.train();
  const variants: Record<string, unknown>[] = [
    { per_device_train_batch_size: 2, gradient_accumulation_steps: 4 },
    { per_device_train_batch_size: 8, gradient_checkpointing: true },
    { per_device_train_batch_size: 8, memory_limit: 1.5 },
  ];
  for (const variant of variants) {
    const trainer = await make({ max_steps: 6, ...variant }, { peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear' }) });
    await trainer.train();
    for (const [i, loss] of losses(trainer).entries())
      expect(Math.abs(loss / losses(reference)[i] - 1), JSON.stringify(variant)).toBeLessThan(3e-5);
    free(trainer);
  }
  free(reference);
});

it('rows that stand one behind another, their common beginning once, have the losses and gradients they have alone', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const examples = prepareSft(rows, tokenizer, new SFTConfig(quiet)).examples.slice(0, 5);
  const lossesOf = (group: typeof examples) =>
    tf.tidy(() => {
      const { ids, layout, positions, labels } = collate(group, textsOf);
      expect(layout.prefixed === true).toBe(group.length > 1);
      return Array.from(model.losses(ids, positions, labels, { layout }).dataSync());
    });
  const together = lossesOf(examples);
  const alone = examples.flatMap((example) => lossesOf([example]));
  expect(together).toHaveLength(alone.length);
  for (const [i, loss] of together.entries()) expect(Math.abs(loss - alone[i])).toBeLessThan(1e-5);
  const trained = get_peft_model(model, new LoraConfig({ r: 4, target_modules: 'all-linear', init_lora_weights: false }));
  const gradientsOf = async (tokens: number) => {
    const plan = { tokens, recompute: false };
    const { gradients } = await stepGradients(trained, sft, examples, {
      plan,
      precision: 'fp32',
      args: { seed: 0, neftune_noise_alpha: null, label_smoothing_factor: 0 },
      step: 0,
    });
    return [...gradients.values()].map((gradient) => gradient.dataSync());
  };
  const [once, each] = [await gradientsOf(10_000), await gradientsOf(1)];
  for (const [i, gradient] of once.entries()) {
    const scale = Math.max(...Array.from(gradient, Math.abs));
    expect(scale).toBeGreaterThan(0);
    for (const [j, x] of gradient.entries()) expect(Math.abs(x - each[i][j]) / scale).toBeLessThan(1e-5);
  }
  trained.dispose();
});

it('packing fills rows with whole texts, so an epoch takes fewer steps', async () => {
  const [plain, packed] = [
    await make({ num_train_epochs: 1, max_steps: -1, logging_steps: 1 }),
    await make({ num_train_epochs: 1, max_steps: -1, logging_steps: 1, packing: true, max_length: 200 }),
  ];
  await plain.train();
  await packed.train();
  expect(packed.run!.totalSteps).toBeLessThan(plain.run!.totalSteps / 2);
  expect(packed.state!.log_history.at(-1)!.num_tokens).toBe(plain.state!.log_history.at(-1)!.num_tokens);
  expect(losses(packed).every(Number.isFinite)).toBe(true);
  expect(() => new SFTConfig({ packing: true, max_length: null })).toThrow(/packing needs max_length/);
  for (const trainer of [plain, packed]) free(trainer);
});

it('trains with 8-bit AdamW, and resumes it bit for bit', async () => {
  const output_dir = scratch('eight');
  // a pair beside the table has tensors large enough to be packed
  const peft_config = () => new LoraConfig({ r: 32, lora_alpha: 32, target_modules: ['q_proj', 'down_proj', 'embed_tokens'] });
  const options = { optim: 'paged_adamw_8bit', output_dir, save_strategy: 'steps', save_steps: 3, learning_rate: 1e-3, max_steps: 6 };
  const [plain, eight] = [
    await make({ learning_rate: 1e-3, max_steps: 6 }, { peft_config: peft_config() }),
    await make(options, { peft_config: peft_config() }),
  ];
  await plain.train();
  await eight.train();
  for (const [i, loss] of losses(eight).entries()) expect(Math.abs(loss - losses(plain)[i])).toBeLessThan(0.02);
  expect(losses(eight)).not.toEqual(losses(plain));
  const again = await make(options, { peft_config: peft_config() });
  await again.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-3') });
  expect(losses(again)).toEqual(losses(eight));
  for (const trainer of [plain, eight, again]) free(trainer);
});

it('leaves no tensors and no native bytes behind', async () => {
  const trainer = await make({ max_steps: 3 });
  await trainer.train();
  const before = [tf.memory().numTensors, Handle.nativeBytes];
  await trainer.train();
  expect([tf.memory().numTensors, Handle.nativeBytes]).toEqual(before);
  free(trainer);
});

it('every adapter tensor learns after the second step', async () => {
  const trainer = await make({ max_steps: 2 }, { peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear' }) });
  const start = new Map(values(trainer.model) as [string, number[]][]);
  await trainer.train();
  for (const [name, now] of values(trainer.model) as [string, number[]][])
    expect(
      now.some((v, i) => v !== start.get(name)![i]),
      `${name} did not change`,
    ).toBe(true);
  free(trainer);
});

it('evaluates, logs and keeps as many checkpoints as asked', async () => {
  const trainer = await make(
    {
      eval_strategy: 'steps',
      eval_steps: 4,
      logging_steps: 4,
      save_strategy: 'steps',
      save_steps: 3,
      save_total_limit: 2,
      report_to: 'tensorboard',
      bf16: false, // as evaluate() computes
    },
    { eval_dataset: rows.select([0, 1, 2]) },
  );
  await trainer.train();
  expect(trainer.run!.series.eval_loss.map(([step]) => step)).toEqual([4, 8, 12]);
  expect(trainer.state!.log_history.filter((l) => 'loss' in l).map((l) => l.step)).toEqual([4, 8, 12]);
  expect(readdirSync(trainer.args.output_dir).sort()).toEqual(['checkpoint-12', 'checkpoint-9', 'log.jsonl', 'runs']);
  const [board] = readdirSync(join(trainer.args.output_dir, 'runs'));
  expect(board).toMatch(/^[A-Z][a-z]{2}\d\d_\d\d-\d\d-\d\d_/);
  expect(readdirSync(join(trainer.args.output_dir, 'runs', board))[0]).toMatch(/^events\.out\.tfevents\./);
  const { eval_loss } = await trainer.evaluate();
  expect(eval_loss).toBeCloseTo(trainer.run!.series.eval_loss.at(-1)![1], 5);
  const outside = await evaluate(trainer.model, rows.select([0, 1, 2]), { tokenizer });
  expect(outside.eval_loss).toBeCloseTo(eval_loss, 5);
  expect(outside.perplexity).toBeCloseTo(Math.exp(eval_loss), 3);
  free(trainer);
});

it('a loss that is not a number stops the run, says the step and keeps the last good checkpoint', async () => {
  const trainer = await make(
    { learning_rate: 1e30, max_grad_norm: 0, max_steps: 50 },
    { peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear' }) },
  );
  const error = await trainer.train().then(
    () => undefined,
    (e: Error) => e,
  );
  expect(error?.name).toBe('TrainingError');
  expect(error?.message).toMatch(/Training stopped at step \d+: the (loss|gradient norm).*Lower learning_rate/);
  expect(trainer.run!.status).toBe('failed');
  const saved = error?.message.match(/saved in (\S+)\./)?.[1];
  if (saved) expect(existsSync(join(saved, 'adapter_model.safetensors'))).toBe(true);
  free(trainer);
});

it('a checkpoint that cannot be saved costs no training: it goes on, and the last one says what to do', async () => {
  // A folder where the checkpoint's files cannot be made: the same path as a full disk's.
  const trainer = await make({ save_strategy: 'steps', save_steps: 4, max_steps: 12 });
  const { output_dir } = trainer.args;
  writeFileSync(join(output_dir, 'checkpoint-4.partial'), '');
  mkdirSync(join(output_dir, 'checkpoint-8'));
  const state = trainer as unknown as { save_model(to: string): Promise<void> };
  const real = state.save_model.bind(trainer);
  let full = true;
  state.save_model = (to) => (full ? Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })) : real(to));
  const warn = vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  const error = await trainer.train().catch((e: Error) => e);
  warn.mockRestore();
  expect(String(error)).toMatch(/checkpoint-12' could not be saved: the disk is full \(ENOSPC\)\. What was trained is still in memory/);
  expect(losses(trainer)).toHaveLength(12);
  expect(trainer.run!.events.filter((e) => e.kind === 'warning').map((e) => e.step)).toEqual([4, 8, 12]);
  expect(readdirSync(output_dir).filter((name) => name.includes('partial'))).toEqual([]);
  full = false;
  await trainer.save_model(scratch('elsewhere'));
  free(trainer);
});

it('a checkpoint that was being replaced when the process died is found again', async () => {
  const done = await make({ save_strategy: 'steps', save_steps: 6 });
  await done.train();
  const { output_dir } = done.args;
  renameSync(join(output_dir, 'checkpoint-12'), join(output_dir, 'checkpoint-12.old'));
  const again = await make({ output_dir, max_steps: 13 });
  await again.train({ resume_from_checkpoint: true });
  expect(losses(again).slice(0, 12)).toEqual(losses(done));
  for (const t of [done, again]) free(t);
});

it('masked rows, missing parts and bad folders are refused with a remedy', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const parts = { model, processing_class: tokenizer, train_dataset: rows, peft_config: new LoraConfig({ target_modules: 'all-linear' }) };
  const args = (o: object) => new SFTConfig({ ...quiet, output_dir: scratch('bad'), max_steps: 1, ...o });
  const onlyUser = Dataset.from_list([{ messages: [{ role: 'user', content: 'x' }] }]);
  expect(() => new SFTTrainer({ ...parts, train_dataset: onlyUser, args: args({}) })).toThrow(/Every label is masked: none of the 1 rows/);
  expect(() => new SFTTrainer({ ...parts, train_dataset: rows, args: args({ max_length: 5 }) })).toThrow(
    /Every label is masked.*max_length = 5/,
  );
  const { decoder } = model;
  const rule = decoder.logitRule;
  Object.defineProperty(decoder, 'logitRule', { value: { cap: 30 }, configurable: true, writable: true }); // as Gemma 2 has it
  expect(() => new SFTTrainer({ ...parts, args: args({ label_smoothing_factor: 0.1 }) })).toThrow(
    /label_smoothing_factor: this model's logits are capped, .* Set it to 0/,
  );
  Object.defineProperty(decoder, 'logitRule', { value: rule });
  const packed = await AutoModelForCausalLM.from_pretrained(folder, { progress: false, load_in_8bit: true });
  expect(() => new SFTTrainer({ ...parts, model: packed, peft_config: undefined, args: args({}) })).toThrow(
    /needs a peft_config .*packed \(model\.layers\.0\.\S+ as INT8\).*dtype: 'float32'/,
  );
  packed.dispose();
  expect(() => new SFTTrainer({ ...parts, modle: model })).toThrow(/no option modle.*Did you mean model/);
  expect(() => new SFTConfig({ fp16: true })).toThrow(/fp16 = true is not supported\. .*bf16/);
  expect(() => new SFTConfig({ lr: 1e-3 })).toThrow(/SFTConfig has no option lr/);
  expect(() => new SFTConfig({ learningRate: 1e-3 })).toThrow(/Did you mean learning_rate/);
  expect(() => new SFTConfig({ learning_rate: -1 })).toThrow(/learning_rate must be a number greater than 0, but is -1/);
  expect(() => new SFTConfig({ lr_scheduler_type: 'cosin' })).toThrow(/'cosin' is not one of linear, cosine/);
  const warn = vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  expect(new SFTConfig({ max_seq_length: 99 }).max_length).toBe(99);
  expect(String(warn.mock.calls[0]?.[0])).toMatch(/max_seq_length is now called max_length/);
  warn.mockRestore();
  const file = join(scratch('file'), 'taken');
  writeFileSync(file, '');
  const blocked = new SFTTrainer({ ...parts, args: args({ output_dir: join(file, 'x') }) });
  await expect(blocked.train()).rejects.toThrow(/output_dir '.*taken\/x' cannot be written/);
  free(blocked);
  if (process.getuid?.() !== 0) {
    const locked = scratch('locked');
    mkdirSync(join(locked, 'a'));
    chmodSync(locked, 0o500);
  }
});

it('resuming needs a checkpoint, of the same data', async () => {
  const trainer = await make();
  await expect(trainer.train({ resume_from_checkpoint: true })).rejects.toThrow(/There is no checkpoint in/);
  await expect(trainer.train({ resume_from_checkpoint: '/nowhere' })).rejects.toThrow(/'\/nowhere' is not a checkpoint/);
  const done = await make({ save_strategy: 'steps', save_steps: 6 });
  await done.train();
  const other = await make({ output_dir: done.args.output_dir, per_device_train_batch_size: 2 });
  await expect(other.train({ resume_from_checkpoint: true })).rejects.toThrow(/made with other data or batches/);
  for (const t of [trainer, done, other]) free(t);
});

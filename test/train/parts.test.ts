// Parts of a model that are trained at rates of their own, later, or not at all; rates that wait for evaluations; what is said where nothing is
// learned; answers scored while it trains; damaged checkpoints.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import {
  AutoModelForCausalLM,
  Dataset,
  freeze,
  GradualUnfreezingCallback,
  generate,
  SFTConfig,
  SFTTrainer,
  unfreeze,
} from '../../src/index';
import type { CausalLM } from '../../src/models/causal_lm';
import { GradientCheck } from '../../src/train/gradient_check';
import { groupsOf } from '../../src/train/groups';
import { Plateau } from '../../src/train/plateau';
import { peer } from '../peer';
import { chatRow, scratch } from '../tiny';
import { make, tinyModel, tokenizer } from './small_runs';

const load = async () => AutoModelForCausalLM.from_pretrained(await tinyModel(), { progress: false, dtype: 'float32' });
const ROWS = Array.from({ length: 8 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`));

/** A trainer of all weights, or of what is not frozen. */
const whole = async (model: Awaited<ReturnType<typeof load>>, args: Record<string, unknown>, callbacks: unknown[] = []) =>
  new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: Dataset.from_list(ROWS),
    args: new SFTConfig({
      ...{ output_dir: scratch('parts'), disable_tqdm: true, save_strategy: 'no', bf16: false, learning_rate: 1e-3, report_to: [] },
      ...args,
    }),
    callbacks: callbacks as never,
  });

type Values = Map<string, number[]>;
const snapshot = (model: CausalLM): Values =>
  new Map([...model.namedTensors()].map(([name]) => [name, [...model.get_parameter(name).dataSync()]]));
const moved = (model: CausalLM, before: Values) =>
  [...snapshot(model)].flatMap(([name, now]) => (now.join() === before.get(name)?.join() ? [] : [name]));

it('rates fall on a plateau as by torch', () => {
  const noisy = (seed: number) => Array.from({ length: 40 }, (_, i) => 2 / (1 + i * 0.1) + 0.3 * Math.sin(i * seed));
  const cases: { lr: number; kwargs: Record<string, string | number>; values: number[] }[] = [
    { lr: 0.1, kwargs: { patience: 2 }, values: noisy(3) },
    { lr: 0.1, kwargs: { patience: 0, factor: 0.5, cooldown: 3 }, values: noisy(5) },
    { lr: 1e-3, kwargs: { mode: 'max', patience: 1, threshold: 0.05, threshold_mode: 'abs', min_lr: 1e-4 }, values: noisy(7) },
    { lr: 1e-7, kwargs: { patience: 0 }, values: [1, 1, 1, 1] },
  ];
  const theirs = peer<number[][]>('plateaus', { cases }, 'peer_train.py');
  for (const [i, { lr, kwargs, values }] of cases.entries()) {
    const args = new SFTConfig({
      ...{
        output_dir: 'x',
        learning_rate: lr,
        lr_scheduler_type: 'reduce_lr_on_plateau',
        lr_scheduler_kwargs: kwargs,
      },
      ...{ eval_strategy: 'steps', metric_for_best_model: 'loss' },
    });
    const plateau = new Plateau(args as never);
    const ours = values.map((value) => {
      plateau.measured({ eval_loss: value });
      return lr * plateau.state.factor;
    });
    for (const [k, rate] of ours.entries()) expect(Math.abs(rate - theirs[i][k]), `case ${i}, ${k}`).toBeLessThan(1e-12);
  }
});

it('parts are frozen and trained by ranges, wildcards and expressions; what is frozen stays to the bit', async () => {
  const model = await load();
  model.requires_grad_();
  const all = model.numParameters();
  const inLayer = (n: number) => model.get_submodule(`model.layers.${n}`).numParameters();
  expect(freeze(model, 'layers.0-1')).toBe(inLayer(0) + inLayer(1));
  expect(freeze(model, 'layers.*.mlp')).toBeGreaterThan(0);
  expect(freeze(model)).toBe(all);
  expect(unfreeze(model, ['layers.1-', /norm\.weight$/])).toBeGreaterThan(inLayer(1));
  expect(() => freeze(model, 'layer.0')).toThrow(/Did you mean layers\?/);
  expect(() => freeze(model, 'layers.90-')).toThrow(/no tensor of the model/);
  freeze(model);
  unfreeze(model, 'layers.1');
  const trainer = await whole(model, { max_steps: 2 });
  const frozen = Float32Array.from(model.get_parameter('model.layers.0.self_attn.q_proj.weight').dataSync());
  const before = snapshot(model);
  await trainer.train();
  expect(moved(model, before).length).toBeGreaterThan(3);
  expect(moved(model, before).every((name) => name.startsWith('model.layers.1.'))).toBe(true);
  expect([...model.get_parameter('model.layers.0.self_attn.q_proj.weight').dataSync()]).toEqual([...frozen]);
  model.dispose();
});

it('layers come one after another from the top, and after the run all may be trained again', async () => {
  const model = await load();
  model.requires_grad_();
  let before: Values = new Map();
  const seen: number[] = [];
  const layers = (names: string[]) => new Set(names.flatMap((name) => name.match(/layers\.(\d+)\./)?.[1] ?? [])).size;
  const watch = {
    on_step_end: () => {
      seen.push(layers(moved(model, before)));
      before = snapshot(model);
    },
  };
  const trainer = await whole(model, { max_steps: 3 }, [new GradualUnfreezingCallback({ every: 1, unit: 'steps' }), watch]);
  before = snapshot(model);
  await trainer.train();
  const depth = Number((model.config as Record<string, unknown>).num_hidden_layers);
  expect(seen).toEqual([1, 2, 3].map((n) => Math.min(n, depth)));
  expect([...trainer.model.namedParameters().values()].every((p) => p.requires_grad)).toBe(true);
  expect(() => new GradualUnfreezingCallback({ unit: 'days' as never })).toThrow(/not one of epoch, steps/);
  model.dispose();
});

it('layers and groups have their rates', async () => {
  const model = await load();
  model.requires_grad_();
  const groups = [
    { params: 'layers\\.0\\.mlp', lr: 0 },
    { params: ['embed_tokens'], lr: 5e-4, weight_decay: 0 },
  ];
  const args = { learning_rate: 1e-3, weight_decay: 0.1, layerwise_lr_decay: 0.5, param_groups: groups };
  const of = groupsOf(new SFTConfig({ output_dir: 'x', ...args }) as never, model);
  const depth = Number((model.config as Record<string, unknown>).num_hidden_layers);
  const top = `model.layers.${depth - 1}.self_attn.q_proj.weight`;
  expect(of(top)).toEqual({ rate: 1, weight_decay: 0.1 });
  expect(of('model.layers.0.self_attn.q_proj.weight').rate).toBeCloseTo(0.5 ** (depth - 1));
  expect(of('model.layers.0.mlp.up_proj.weight').rate).toBe(0);
  expect(of('model.embed_tokens.weight')).toEqual({ rate: 0.5, weight_decay: 0 });
  expect(of('model.norm.weight').weight_decay).toBe(0);
  expect(() => groupsOf(new SFTConfig({ output_dir: 'x', param_groups: [{ params: 'nowhere' }] }) as never, model)).toThrow(
    /no trained tensor/,
  );
  // One step of plain SGD moves each by its rate times its gradient: with half the rate everywhere below, by half.
  const step = async (more: Record<string, unknown>) => {
    const own = await load();
    own.requires_grad_();
    const trainer = await whole(own, {
      max_steps: 1,
      optim: 'sgd',
      learning_rate: 0.1,
      weight_decay: 0,
      max_grad_norm: 0,
      lr_scheduler_type: 'constant',
      ...more,
    });
    const name = 'model.layers.0.self_attn.v_proj.weight';
    const start = Float32Array.from(own.get_parameter(name).dataSync());
    await trainer.train();
    const change = Float32Array.from(own.get_parameter(name).dataSync()).map((value, i) => value - start[i]);
    own.dispose();
    return Math.hypot(...change);
  };
  const [plain, halved, still] = [
    await step({}),
    await step({ layerwise_lr_decay: 0.5 }),
    await step({ param_groups: [{ params: 'layers\\.0\\.', lr: 0 }] }),
  ];
  expect(halved / plain).toBeCloseTo(0.5 ** (depth - 1), 3);
  expect(still).toBe(0);
  model.dispose();
});

it('tensors that learn nothing are told by name; where none learns it ends', async () => {
  const some = (...values: number[]) => tf.tensor1d(values);
  const check = new GradientCheck();
  const after = (a: number, rate: number) => check.seen(new Map(Object.entries({ A: some(0, a), B: some(1, 0), C: some(0) })), rate);
  // A waits for B, and a warmup's first rate is 0.
  expect(await after(0, 0)).toBeUndefined();
  expect(await after(0, 1e-3)).toBeUndefined();
  expect(await after(2, 1e-3)).toMatch(/^1 of 3 trained tensors .*: C\./);
  const none = new GradientCheck();
  await none.seen(new Map([['A', some(0)]]), 1);
  await expect(none.seen(new Map([['A', some(0)]]), 1)).rejects.toThrow(/Nothing is learned/);
});

it('answers are scored while it trains', async () => {
  const args = {
    eval_strategy: 'steps',
    eval_steps: 3,
    max_steps: 3,
    predict_with_generate: true,
    generation_metrics: ['exact_match', 'rouge'],
  };
  const trainer = await make([], { ...args, generation_max_new_tokens: 6, generation_samples: 2, metric_for_best_model: 'exact_match' });
  await trainer.train();
  const logged = trainer.state!.log_history.find((entry) => 'eval_loss' in entry) as Record<string, number>;
  expect(logged.eval_exact_match).toBeTypeOf('number');
  expect(logged.eval_rougeL).toBeTypeOf('number');
  const prompt = tokenizer.apply_chat_template(ROWS[0].messages.slice(0, -1) as never, { add_generation_prompt: true });
  const said = tokenizer.decode(await generate(trainer.model as never, prompt, { max_new_tokens: 6, do_sample: false }), {
    skip_special_tokens: true,
  });
  expect(said.trim() === ROWS[0].messages.at(-1)!.content).toBe(logged.eval_exact_match > 0.4);
  expect(() => new SFTConfig({ output_dir: 'x', generation_metrics: 'roc_auc' })).toThrow(/takes prediction_scores|generation_metrics has/);
  trainer.model.unload();
});

it('a checkpoint that was changed is not gone on from, and the one before it is offered', async () => {
  const output_dir = scratch('damaged');
  const args = { output_dir, max_steps: 4, save_strategy: 'steps', save_steps: 2 };
  const trainer = await make([], args);
  await trainer.train();
  const whole = trainer.run!.series.loss.map(([, value]) => value);
  const file = join(output_dir, 'checkpoint-4', 'optimizer.safetensors');
  const bytes = readFileSync(file);
  bytes[bytes.length - 5] ^= 1;
  writeFileSync(file, bytes);
  const again = await make([], args);
  const named = again.train({ resume_from_checkpoint: join(output_dir, 'checkpoint-4') });
  await expect(named).rejects.toThrow(/optimizer\.safetensors is damaged.*checkpoint-2' is whole/s);
  await again.train({ resume_from_checkpoint: true });
  expect(again.run!.series.loss.map(([, value]) => value)).toEqual(whole);
  for (const its of [trainer, again]) its.model.unload();
});

it('LoRA+ wants a pair, and its B learns faster', async () => {
  const lora = await make([], { loraplus_lr_ratio: 16, max_steps: 1 });
  const of = groupsOf(new SFTConfig({ output_dir: 'x', loraplus_lr_ratio: 16 }) as never, lora.model);
  const names = [...lora.model.namedParameters().keys()];
  for (const name of names) expect(of(name).rate).toBe(name.includes('lora_B') ? 16 : 1);
  await lora.train();
  const model = await load();
  model.requires_grad_();
  await expect((async () => (await whole(model, { loraplus_lr_ratio: 16, max_steps: 1 })).train())()).rejects.toThrow(/none is trained/);
  model.dispose();
});

import { readdirSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { beforeAll, expect, it } from 'vitest';
import { Dataset, InterruptedError, LoraConfig, on, SFTConfig, SFTTrainer } from '../../src/index';
import { AutoModelForCausalLM } from '../../src/models/auto';
import { watchOverfitting } from '../../src/train/callbacks/overfitting';
import { Handle } from '../../src/train/handle';
import { newRun, type Run } from '../../src/train/run';
import { chatRow, scratch, tinyLlama, tinyTokenizer } from '../tiny';

const tokenizer = tinyTokenizer();
const rows = Dataset.from_list(Array.from({ length: 16 }, (_, i) => chatRow(`What is ${i} plus ${i}?`, `It is ${2 * i}.`)));
let folder: string;

beforeAll(async () => {
  folder = await tinyLlama(3);
});

async function make(args: Record<string, unknown> = {}, more: Record<string, unknown> = {}): Promise<SFTTrainer> {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const config = { disable_tqdm: true, assistant_only_loss: true, learning_rate: 1e-2, save_strategy: 'no' as const, max_steps: 12 };
  return new SFTTrainer({
    model,
    processing_class: tokenizer,
    train_dataset: rows,
    eval_dataset: rows,
    peft_config: new LoraConfig({ r: 4, target_modules: 'all-linear', lora_dropout: 0.1 }),
    args: new SFTConfig({ ...config, output_dir: scratch('out'), per_device_train_batch_size: 4, ...args }),
    ...more,
  });
}
const losses = (trainer: SFTTrainer) => trainer.run!.series.loss.map(([, value]) => value);

/** Resolves when the trainer's run has come to a step. */
const reached = (trainer: SFTTrainer, step: number) =>
  new Promise<void>((resolve) => {
    const off = on('run', ({ run }) => {
      if (run !== trainer.run || trainer.run!.step < step) return;
      off();
      resolve();
    });
  });

it('pause, sample, questions, evaluate and resume leave the losses what they were, bit for bit', async () => {
  const plain = await make();
  await plain.train();
  const trainer = await make();
  const training = trainer.train();
  await reached(trainer, 4);
  expect(await trainer.pause()).toMatch(/^Paused after step \d+\.$/);
  const { step } = trainer.run!;
  expect(trainer.run!.status).toBe('paused');
  await wait(100);
  expect(trainer.run!.step, 'nothing moves').toBe(step);
  expect(await trainer.pause()).toBe('It is paused already.');
  const doing = new Set<string>();
  const off = on('run', ({ run }) => doing.add((run as Run).doing));
  const question = 'What is 3 plus 3? '.repeat(5);
  expect(await trainer.ask(` ${question} `)).toBe(`Answered after step ${step}.`);
  await expect(trainer.ask('  ')).rejects.toThrow(/not an empty one/);
  const { handle } = trainer as unknown as { handle: { ask(action: string, value?: number): Promise<string> } };
  expect(await handle.ask('sample')).toBe(`2 samples taken after step ${step}.`);
  expect(await handle.ask('evaluate')).toMatch(new RegExp(`^Evaluation loss after step ${step}: \\d\\.\\d{4}\\.$`));
  expect([...doing]).toEqual([`generating an answer to “${question.slice(0, 59)}…”`, '', 'generating 2 samples', 'evaluating on 16 rows']);
  off();
  expect(await trainer.resume()).toBe(`Resumed after step ${step}.`);
  expect(await trainer.resume()).toBe('It is training.');
  await training;
  expect(losses(trainer)).toEqual(losses(plain));
  expect(trainer.run!.samples.map((s) => [s.step, s.prompt, s.asked])).toEqual([
    [step, question.trim(), true],
    [step, 'What is 0 plus 0?', undefined],
    [step, 'What is 1 plus 1?', undefined],
  ]);
  const fresh = await AutoModelForCausalLM.from_pretrained(folder, { progress: false });
  const ids = tokenizer.apply_chat_template([{ role: 'user', content: question.trim() }], { add_generation_prompt: true });
  const said = tokenizer.decode(await fresh.generate(ids, { max_new_tokens: 96 }), { skip_special_tokens: true });
  expect(trainer.run!.samples[0].base, 'beside it stands what the base model says').toBe(said);
  expect(trainer.run!.events.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['paused', 'resumed', 'epoch']));
});

it('a pause is no time of training: neither in what is left, nor in the runtime', async () => {
  const trainer = await make({ disable_tqdm: false });
  const lines: string[] = [];
  const off = on('progress', ({ text }) => lines.push(text));
  const began = performance.now();
  const training = trainer.train();
  await reached(trainer, 4);
  await trainer.pause();
  await wait(1500);
  await trainer.resume();
  const { metrics } = await training;
  off();
  const { pausedSeconds } = trainer.run!;
  const trained = (performance.now() - began) / 1000 - pausedSeconds;
  expect(pausedSeconds).toBeGreaterThan(1.4);
  expect(metrics.train_runtime).toBeLessThanOrEqual(trained);
  const [, minutes, seconds] = lines.at(-1)!.match(/(\d+):(\d+) elapsed/)!;
  expect(60 * Number(minutes) + Number(seconds)).toBeLessThanOrEqual(trained);
});

it('a stop is answered with the checkpoint it saved; after it there is nothing to ask', async () => {
  const trainer = await make({ max_steps: 500 });
  const training = trainer.train();
  await reached(trainer, 2);
  const said = await trainer.stop();
  const result = await training;
  expect(result.stopped).toBe(true);
  expect(said).toBe(`stopped after step ${result.global_step}; saved ${result.checkpoint}`);
  await expect(trainer.pause()).rejects.toThrow(/Training is over or has not begun/);
  expect(await trainer.stop()).toBe('No run is on.');
});

it('an interrupt ends a paused run, and what was still asked is answered', async () => {
  const trainer = await make({ max_steps: 500 });
  const training = trainer.train();
  await reached(trainer, 2);
  await trainer.pause();
  process.emit('SIGINT', 'SIGINT');
  const late = trainer.setLearningRate(1e-3);
  const result = await training;
  expect(result.stopped).toBe(true);
  await expect(late.catch((error: Error) => error.message)).resolves.toMatch(/Training is over|learning rate/);
});

it('a learning rate set on the way holds from the next step on, and after resuming', async () => {
  const output_dir = scratch('rate');
  const first = await make({ output_dir, lr_scheduler_type: 'constant', max_steps: 30 });
  const training = first.train();
  await reached(first, 2);
  await expect(first.setLearningRate(Number.NaN)).rejects.toThrow(/learning_rate must be a number of at least 0, but is NaN/);
  expect(await first.setLearningRate(5e-3)).toMatch(/^Learning rate from 0.01 to 0.005\.$/);
  const { step } = first.run!;
  await first.stop();
  await training;
  const rates = new Map(first.run!.series.learning_rate);
  expect(rates.get(step)).toBe(1e-2);
  const second = await make({ output_dir, lr_scheduler_type: 'constant', max_steps: 30 });
  await second.train({ resume_from_checkpoint: true });
  expect(second.run!.series.learning_rate.at(-1)).toEqual([30, 5e-3]);
});

it('a rate that was set on the way does not hide one that a resumed run is given', async () => {
  const output_dir = scratch('rate');
  const first = await make({ output_dir, lr_scheduler_type: 'constant', max_steps: 4, save_strategy: 'steps', save_steps: 2 });
  await first.train();
  const second = await make({ output_dir, lr_scheduler_type: 'constant', max_steps: 6, learning_rate: 1e-3 });
  await second.train({ resume_from_checkpoint: true });
  expect(second.run!.series.learning_rate.at(-1)).toEqual([6, 1e-3]);
});

it('an interrupt that ends a sample ends the run with it; what else goes wrong with one does not', async () => {
  const handle = new Handle();
  handle.begin();
  const asked = handle.ask('sample');
  asked.catch(() => {});
  await expect(handle.attend(() => Promise.reject(new InterruptedError('now')))).rejects.toThrow('now');
  await expect(asked).rejects.toThrow('now');
  const trainer = await make({ sample_prompts: ['What?'], save_strategy: 'steps', save_steps: 2, max_steps: 4 });
  trainer.sample = () => Promise.reject(new Error('the prompt is too long'));
  expect((await trainer.train()).global_step).toBe(4);
  expect(trainer.run!.events.filter(({ kind }) => kind === 'warning').map(({ text }) => text)).toEqual(
    Array(2).fill('the prompt is too long'),
  );
});

it('an interrupt that comes while a checkpoint is written ends the run, and leaves no part of one', async () => {
  const output_dir = scratch('interrupted');
  const trainer = await make({ output_dir, save_strategy: 'steps', save_steps: 2, max_steps: 4 });
  trainer.save_model = () => Promise.reject(new InterruptedError('now'));
  await expect(trainer.train()).rejects.toThrow(InterruptedError);
  expect(trainer.run).toMatchObject({ status: 'stopped', step: 2 });
  expect(readdirSync(output_dir)).toEqual(['log.jsonl']);
});

it('samples are taken at every checkpoint where prompts are given', async () => {
  const trainer = await make({ sample_prompts: ['What is 3 plus 3?'], save_strategy: 'steps', save_steps: 4, max_steps: 8 });
  await trainer.train();
  expect(trainer.run!.samples.map(({ step, prompt }) => [step, prompt])).toEqual([
    [4, 'What is 3 plus 3?'],
    [8, 'What is 3 plus 3?'],
  ]);
  expect((await make({ sample_prompts: 'What?' })).args.sample_prompts).toEqual(['What?']); // one may stand alone
  await expect(make({ sample_prompts: [7] })).rejects.toThrow(/sample_prompts must be a list of texts, but is \[7\]/);
});

it('overfitting is noted once, when evaluation loss rises twice while training loss falls', () => {
  const run = newRun('r', 'out', 100, {});
  const evaluations = [2, 1.8, 1.9, 2, 2.1];
  for (let step = 1; step <= 50; step++) {
    run.step = step;
    run.series.loss.push([step, 3 - step / 25]);
    if (step % 10) continue;
    run.series.eval_loss.push([step, evaluations[step / 10 - 1]]);
    watchOverfitting(run);
  }
  expect(run.events.map(({ step, kind }) => [step, kind])).toEqual([[40, 'overfitting']]);
  expect(run.events[0].text).toMatch(/1.800, 1.900, 2.000.*best at step 20/);
});

it('one interrupt ends a run with its checkpoint, two end it at once without', async () => {
  const once = await make();
  const stopping = once.train();
  await reached(once, 3);
  process.emit('SIGINT');
  const { stopped, checkpoint } = await stopping;
  expect([stopped, checkpoint]).toEqual([true, once.run!.checkpoints.at(-1)]);

  const twice = await make();
  const ending = twice.train();
  await reached(twice, 3);
  process.emit('SIGINT');
  process.emit('SIGINT');
  await expect(ending).rejects.toThrow(InterruptedError);
  expect([twice.run!.status, twice.run!.checkpoints, readdirSync(twice.args.output_dir)]).toEqual(['stopped', [], ['log.jsonl']]);
});

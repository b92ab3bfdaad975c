import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { Dataset, SFTConfig, type SFTTrainer, TrainerCallback, type TrainerControl, type TrainerState } from '../../src/index';
import type { CallbackContext } from '../../src/train/callbacks/callback';
import type { TrainingOptions } from '../../src/train/config';
import { peer } from '../peer';
import { chatRow, scratch } from '../tiny';
import { make, tinyModel, tokenizer } from './small_runs';

const losses = (trainer: SFTTrainer) => trainer.run!.series.loss.map(([, value]) => value);

const HOOKS = `on_init_end on_train_begin on_train_end on_epoch_begin on_epoch_end on_step_begin on_substep_end on_pre_optimizer_step
  on_optimizer_step on_step_end on_evaluate on_prediction_step on_save on_log`.split(/\s+/) as (keyof TrainerCallback)[];
type Flags = Partial<Record<keyof TrainerControl, [hook: string, step: number]>>;
type Told = [hook: string, step: number, epoch: number, flags: string];

/** A callback that notes what it is told, and asks for something once at a hook and step. */
function recorder(asks: Flags, told: Told[]): TrainerCallback {
  const hook = (name: string) => async (_: TrainingOptions, state: TrainerState, control: TrainerControl) => {
    await wait(0);
    const set = Object.entries(control).flatMap(([flag, isSet]) => (isSet ? [flag] : []));
    told.push([name, state.global_step, Math.round(state.epoch * 1e6) / 1e6, set.sort().join(' ')]);
    for (const [flag, [at, step]] of Object.entries(asks))
      if (at === name && step === state.global_step) control[flag as keyof TrainerControl] = true;
  };
  return Object.fromEntries(HOOKS.map((name) => [name, hook(name)])) as TrainerCallback;
}

const every = { logging_steps: 2, eval_strategy: 'steps', eval_steps: 4, save_strategy: 'steps', save_steps: 4 };
const CASES: [string, Record<string, unknown>, Flags][] = [
  ['logs, evaluations and checkpoints by steps', every, {}],
  ['by epochs', { logging_steps: 4, logging_first_step: true, eval_strategy: 'epoch', save_strategy: 'epoch' }, {}],
  [
    'what a callback asks for',
    { logging_steps: 100 },
    { should_log: ['on_step_end', 1], should_evaluate: ['on_step_end', 2], should_save: ['on_step_end', 3] },
  ],
  ['an end that a callback asks for', { logging_steps: 1 }, { should_training_stop: ['on_log', 3] }],
  ['the end of an epoch that a callback asks for', { logging_steps: 1 }, { should_epoch_stop: ['on_step_end', 1] }],
];

it('hooks are called at the moments, with the state and control of transformers', async () => {
  const cases = CASES.map(([, args, asks]) => ({ args, asks }));
  const theirs = peer<Told[][]>('callbacks', { folder: await tinyModel(), cases, hooks: HOOKS }, 'peer_train.py');
  for (const [i, [name, args, asks]] of CASES.entries()) {
    const told: Told[] = [];
    const { stopped } = await (await make([recorder(asks, told)], args)).train();
    expect(stopped, name).toBe('should_training_stop' in asks);
    // What is stopped is saved here whatever save_strategy says.
    if (stopped)
      told.splice(
        told.findLastIndex(([hook]) => hook === 'on_save'),
        1,
      );
    expect(told, name).toEqual(theirs[i]);
  }
});

it('an epoch that a callback ended is over for a run that goes on from any checkpoint', async () => {
  const ends = { should_epoch_stop: ['on_log', 3] } satisfies Flags;
  const args = { logging_steps: 1, save_strategy: 'steps', save_steps: 1, output_dir: scratch('epochs') };
  const whole = await make([recorder(ends, [])], args);
  expect(await whole.train()).toMatchObject({ global_step: 5, stopped: false });
  for (const step of [2, 3, 4]) {
    const again = await make([recorder(ends, [])], args);
    await again.train({ resume_from_checkpoint: join(args.output_dir, `checkpoint-${step}`) });
    expect(losses(again), `from ${step}`).toEqual(losses(whole));
  }
});

class Counter extends TrainerCallback {
  steps = 0;
  constructor(readonly by = 1) {
    super();
  }
  override on_step_end(): void {
    this.steps += this.by;
  }
  override state() {
    return { args: { by: this.by }, attributes: { steps: this.steps } };
  }
}

it('what a callback remembers is in trainer_state.json as in transformers, and is there again after resuming', async () => {
  const args = { output_dir: scratch('stateful'), save_strategy: 'steps', save_steps: 3 };
  await (await make([new Counter(), new Counter(5)], args)).train();
  const { stateful_callbacks } = JSON.parse(readFileSync(join(args.output_dir, 'checkpoint-3', 'trainer_state.json'), 'utf8'));
  expect(stateful_callbacks.Counter).toEqual([
    { args: { by: 1 }, attributes: { steps: 3 } },
    { args: { by: 5 }, attributes: { steps: 15 } },
  ]);
  expect(stateful_callbacks.TrainerControl).toEqual({
    args: { should_training_stop: false, should_epoch_stop: false, should_save: false, should_evaluate: false, should_log: false },
    attributes: {},
  });
  const [one, five] = [new Counter(), new Counter(5)];
  await (await make([one, five], args)).train({ resume_from_checkpoint: join(args.output_dir, 'checkpoint-3') });
  expect([one.steps, five.steps]).toEqual([6, 30]);
});

it.each(HOOKS.filter((hook) => hook !== 'on_init_end' && hook !== 'on_substep_end'))(
  'a callback that throws in %s ends the run with its name, and nothing is lost',
  async (hook) => {
    const before = tf.memory().numTensors;
    class Broken extends TrainerCallback {}
    Object.assign(Broken.prototype, {
      async [hook](_: TrainingOptions, { global_step }: TrainerState) {
        await wait(0);
        if (global_step >= 2 || hook === 'on_train_begin') throw new Error('no more');
      },
    });
    const args = {
      output_dir: scratch('broken'),
      eval_strategy: 'steps',
      eval_steps: 2,
      logging_steps: 2,
      save_strategy: 'steps',
      save_steps: 2,
    };
    const trainer = await make([Broken], args);
    const error: Error = await trainer.train().then(
      () => expect.unreachable(),
      (reason) => reason,
    );
    expect(error.name).toBe('TrainingError');
    expect(error.message).toMatch(new RegExp(`^The callback Broken failed in ${hook} after step \\d: no more`));
    expect(trainer.run!.status).toBe('failed');
    if (hook === 'on_train_begin') expect(error.message).toMatch(/No step had been taken\.$/);
    else {
      const { step } = trainer.run!;
      expect(error.message).toContain(`saved in ${join(args.output_dir, `checkpoint-${step}`)};`);
      expect(step).toBe({ on_optimizer_step: 3, on_train_end: 6 }[hook as string] ?? 2);
      const again = await make([], args);
      await again.train({ resume_from_checkpoint: true });
      const whole = await make([], { ...args, output_dir: scratch('whole') });
      await whole.train();
      expect(losses(again)).toEqual(losses(whole));
      for (const { model } of [again, whole]) model.unload().dispose();
    }
    trainer.model.unload().dispose();
    expect(tf.memory().numTensors).toBe(before);
  },
);

it('callbacks get the model and what was measured; what they log is plotted; several micro-batches are told apart', async () => {
  const seen: CallbackContext[] = [];
  let substeps = 0;
  const trainer = await make(
    [
      {
        on_substep_end: () => {
          substeps++;
        },
        async on_evaluate(_: TrainingOptions, { global_step }: TrainerState, __: TrainerControl, context: CallbackContext) {
          seen.push(context);
          await context.trainer.log({ 'mine/steps': 2 * global_step });
        },
      },
    ],
    { eval_strategy: 'steps', eval_steps: 3 },
    Dataset.from_list(Array.from({ length: 8 }, (_, i) => chatRow('What?', `${i} `.repeat(200)))),
  );
  await trainer.train();
  expect([6, 18], 'one or three between the micro-batches of a step').toContain(substeps);
  expect(seen).toHaveLength(2);
  expect(seen[0]).toMatchObject({ model: trainer.model, processing_class: tokenizer, run: trainer.run });
  expect(seen[0].metrics.eval_loss).toBe(trainer.run!.series.eval_loss[0][1]);
  expect(seen[0].optimizer!.step).toBe(6);
  expect(trainer.run!.series['mine/steps']).toEqual([
    [3, 6],
    [6, 12],
  ]);
  expect(trainer.state.log_history).toContainEqual({ 'mine/steps': 6, epoch: 1.5, step: 3 });
});

it('callbacks are added, found by class and taken out; those that would never be called are refused', async () => {
  const trainer = await make([Counter]);
  trainer.add_callback(new Counter(7));
  expect((trainer.pop_callback(Counter) as Counter).by).toBe(1);
  const left = trainer.pop_callback(Counter);
  expect((left as Counter).by).toBe(7);
  expect(trainer.pop_callback(Counter)).toBeUndefined();
  trainer.add_callback(left!);
  trainer.remove_callback(left!);
  expect(trainer.callback_handler.callbacks.some((callback) => callback instanceof Counter)).toBe(false);
  await expect(make([{ on_step_ended() {} }])).rejects.toThrow(/has on_step_ended, which is no hook\. Did you mean on_step_end\?/);
  await expect(make([{ onLog() {} }])).rejects.toThrow(/has onLog, which is no hook\. Did you mean on_log\?/);
  await expect(make(['tensorboard'])).rejects.toThrow(/callbacks must hold instances or classes of TrainerCallback, but has 'tensorboard'/);
  const failing = await make([{ on_init_end: () => Promise.reject(new Error('not today')) }]);
  await expect(failing.train()).rejects.toThrow(/callback object failed in on_init_end after step 0: not today/);
});

it('a tracker is found by the name that report_to gives', async () => {
  expect(() => new SFTConfig({ report_to: 'comet_ml' })).toThrow(/report_to = 'comet_ml' is not one of none, all, /);
  for (const report_to of ['all', ['tensorboard'], 'tensorboard', [], 'none']) {
    const trainer = await make([], { report_to, max_steps: 1, logging_steps: 1 });
    await trainer.train();
    expect(existsSync(join(trainer.args.output_dir, 'runs'))).toBe(report_to === 'all' || `${report_to}` === 'tensorboard');
  }
});

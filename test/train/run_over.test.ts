// A run ends once, whatever ends it: callbacks are told, its log says how, and nothing of it stays behind.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { GradualUnfreezingCallback, type SFTTrainer } from '../../src/index';
import type { Handle } from '../../src/train/handle';
import type { TrainerParts } from '../../src/train/parts';
import type { Run } from '../../src/train/run';
import { make } from './small_runs';

type At = [args: unknown, state: { global_step: number }, control: { should_training_stop: boolean }, context: { trainer: SFTTrainer }];
const at = (step: number, f: (...given: At) => unknown) => ({
  on_step_end: (...given: At) => (given[1].global_step === step ? f(...given) : undefined),
});
const interrupt = () => process.emit('SIGINT');

const ENDINGS: [name: string, object, status: Run['status'], error?: RegExp][] = [
  ['by itself', {}, 'finished'],
  ['by a callback that ends an epoch early', at(2, (_, __, control) => Object.assign(control, { should_epoch_stop: true })), 'finished'],
  ['by a callback', at(2, (_, __, control) => Object.assign(control, { should_training_stop: true })), 'stopped'],
  ['by an interrupt', at(2, interrupt), 'stopped'],
  ['by two', at(2, () => void [interrupt(), interrupt()]), 'stopped', /second interrupt/],
  [
    'by a callback that fails',
    at(2, () => {
      throw new Error('no more');
    }),
    'failed',
    /no more.*saved in/,
  ],
  [
    'before its first step',
    {
      on_train_begin() {
        throw new Error('not at all');
      },
    },
    'failed',
    /not at all/,
  ],
  [
    'at its end',
    {
      on_train_end() {
        throw new Error('not so');
      },
    },
    'failed',
    /not so/,
  ],
  [
    'while it is paused',
    {
      ...at(2, (_, __, ___, { trainer }) => {
        const { handle } = trainer as unknown as { handle: Handle };
        void handle.ask('pause');
        void handle.ask('evaluate').catch(() => {});
      }),
      // What a callback fails with while the paused run does what it was asked for is the run's.
      on_evaluate() {
        throw new Error('in the pause');
      },
    },
    'failed',
    /in the pause/,
  ],
];

it.each(ENDINGS)('%s', async (name, callback, status, error) => {
  const told: [string, string][] = [];
  const failing = {
    run_over() {
      throw new Error('a callback that cannot end');
    },
  };
  const telling = { run_over: (run: Run, text: string) => void told.push([run.status, text]) };
  // The tiny model has two layers, of which the first would come later than the run lasts.
  const trainer = await make([new GradualUnfreezingCallback({ unit: 'steps', every: 100 }), callback, failing, telling], {
    num_train_epochs: 1,
    ...(name.includes('epoch') && { max_steps: -1, num_train_epochs: 2, per_device_train_batch_size: 2 }),
  });
  const parameters = trainer.model.namedParameters().size;
  const end = trainer.train();
  if (error) await expect(end).rejects.toThrow(error);
  else await end;
  expect(told.map(([its]) => its)).toEqual([status]);
  if (error) expect(told[0][1]).toMatch(error);
  expect(trainer.run?.status).toBe(status);
  expect(trainer.run?.events.some(({ text }) => text.includes('a callback that cannot end'))).toBe(true);
  expect(trainer.model.namedParameters().size, 'nothing stays frozen').toBe(parameters);
  if (name.includes('before')) return; // its log had not begun
  const last = readFileSync(join(trainer.args.output_dir, 'log.jsonl'), 'utf8').trim().split('\n').at(-1) as string;
  expect(JSON.parse(last)).toMatchObject({ run: trainer.run?.id, step: trainer.run?.step, ended: status });
  expect(JSON.parse(last).error, 'of a failure it says why').toEqual(
    status === 'failed' ? expect.stringMatching(error as RegExp) : undefined,
  );
});

const FAILING: [name: string, (parts: TrainerParts<never, never>) => void, RegExp][] = [
  [
    'compute_metrics',
    (parts) => {
      parts.compute_metrics = () => {
        throw new Error('mine');
      };
    },
    /^compute_metrics failed in the evaluation after step 4: mine/,
  ],
  [
    'preprocess_logits_for_metrics',
    (parts) => {
      parts.compute_metrics = () => ({ a: 1 });
      parts.preprocess_logits_for_metrics = () => {
        throw new Error('mine');
      };
    },
    /^preprocess_logits_for_metrics failed in the evaluation after step 4: mine/,
  ],
  [
    'what it returns',
    (parts) => {
      parts.compute_metrics = () => ({ a: 1 });
      parts.preprocess_logits_for_metrics = () => tf.zeros([2]);
    },
    /^The evaluation after step 4 failed: preprocess_logits_for_metrics must return a tensor/,
  ],
  [
    'more than can be kept',
    (parts) => {
      parts.compute_metrics = () => ({ a: 1 });
      parts.preprocess_logits_for_metrics = () => tf.zeros([1, (1 << 27) + 1], 'bool');
    },
    /^The evaluation after step 4 failed: compute_metrics would keep more than 512 MiB/,
  ],
  [
    'answers',
    (parts) => {
      parts.answers = {
        names: [],
        score: async () => {
          throw new Error('theirs');
        },
      } as never;
    },
    /^The evaluation after step 4 failed: theirs/,
  ],
];

it.each(FAILING)('an evaluation that fails by %s ends the run saved, and leaves no tensor', async (_, change, text) => {
  const trainer = await make([], { eval_strategy: 'steps', eval_steps: 4 });
  change((trainer as unknown as { parts: TrainerParts<never, never> }).parts);
  await expect(trainer.train()).rejects.toThrow(text);
  expect(trainer.run?.checkpoints.map((path) => path.replace(/^.*-/, ''))).toEqual(['4']);
  await expect(trainer.evaluate()).rejects.toThrow();
  const { numTensors } = tf.memory();
  await expect(trainer.evaluate(), 'outside of a run it is the error itself').rejects.not.toThrow(/after step|saved in/);
  expect(tf.memory().numTensors).toBe(numTensors);
});

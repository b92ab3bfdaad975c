import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import * as tf from '../../src/engine/tf';
import { EarlyStoppingCallback, SFTConfig, TrainerCallback } from '../../src/index';
import type { CallbackContext } from '../../src/train/callbacks/callback';
import type { Handle } from '../../src/train/handle';
import { evaluated, make } from './small_runs';

/** Forgets all from the fifth step on. */
class Forgets extends TrainerCallback {
  override async on_step_end(_: unknown, { global_step }: { global_step: number }, __: unknown, { model }: CallbackContext): Promise<void> {
    if (global_step > 4) for (const p of model.namedParameters().values()) p.assign(tf.keep(tf.zerosLike(p.tensor)));
  }
}

const losses = [3, 2, 2, 2.5, 1, 0.5, 0.7].map((eval_loss) => ({ eval_loss, eval_accuracy: 1 / (1 + eval_loss) }));

it('the best metric and its step are those of transformers', async () => {
  const settings = [
    {},
    { metric_for_best_model: 'loss' },
    { metric_for_best_model: 'eval_accuracy' },
    { metric_for_best_model: 'accuracy', greater_is_better: false },
    { metric_for_best_model: 'eval_loss', greater_is_better: true },
  ];
  const cases = settings.map((args) => ({ args, callbacks: {}, evaluations: losses }));
  const { ours, theirs } = await evaluated(cases, {});
  expect(ours).toEqual(theirs);
});

it('a run notes it, also one that is resumed; a metric that there is not ends it', async () => {
  const args = { eval_strategy: 'steps', eval_steps: 2, metric_for_best_model: 'loss', save_strategy: 'steps', save_steps: 2 };
  const trainer = await make([], args);
  await trainer.train();
  const evaluations = trainer.run!.series.eval_loss;
  const [step, best] = evaluations.reduce((a, b) => (b[1] < a[1] ? b : a));
  expect([trainer.state.best_global_step, trainer.state.best_metric]).toEqual([step, best]);
  const again = await make([], { ...args, output_dir: trainer.args.output_dir, eval_strategy: 'no' });
  await again.train({ resume_from_checkpoint: `${trainer.args.output_dir}/checkpoint-4` });
  const [first, second] = evaluations;
  expect(again.state.best_metric).toBe(Math.min(first[1], second[1]));
  await expect(make([], { ...args, metric_for_best_model: 'los' })).rejects.toThrow(
    /'los' is no figure of an evaluation. Did you mean 'loss'/,
  );
  // perplexity, too, is a figure of evaluations, and less of it is better.
  const perplexed = await make([], { ...args, metric_for_best_model: 'perplexity' });
  await perplexed.train();
  expect(perplexed.state.best_global_step).toBe(step);
  expect(perplexed.state.best_metric).toBeCloseTo(Math.exp(best), 3);
  const own = () => ({ accuracy: 1 });
  await expect((await make([], { ...args, metric_for_best_model: 'f1' }, undefined, true, own)).train()).rejects.toThrow(
    /metric_for_best_model = 'f1' is not among what an evaluation came to: eval_loss, perplexity.*saved in/,
  );
  expect(() => new SFTConfig({ metric_for_best_model: '' })).toThrow(/metric_for_best_model must be the name/);
  expect(() => new SFTConfig({ greater_is_better: true })).toThrow(/greater_is_better = true .* needs metric_for_best_model/);
});

it('the best checkpoint is kept and gone back to in the end, as in transformers', async () => {
  const every = {
    eval_strategy: 'steps',
    eval_steps: 2,
    save_strategy: 'steps',
    save_steps: 2,
    max_steps: 8,
    load_best_model_at_end: true,
  };
  const trainer = await make([Forgets], { ...every, lr_scheduler_type: 'constant', save_total_limit: 1 });
  await trainer.train();
  const { state, run } = trainer;
  const out = trainer.args.output_dir;
  expect(trainer.args.metric_for_best_model).toBe('loss');
  expect([state.best_global_step, state.best_model_checkpoint]).toEqual([4, `${out}/checkpoint-4`]);
  expect(
    readdirSync(out)
      .filter((name) => name.startsWith('checkpoint-'))
      .sort(),
  ).toEqual(['checkpoint-4', 'checkpoint-8']);
  expect((await trainer.evaluate()).eval_loss).toBe(state.best_metric);
  expect(run?.events.at(-1)?.text).toMatch(/the model is that of checkpoint-4 again: its loss was best/);
  const saved = JSON.parse(readFileSync(`${out}/checkpoint-8/trainer_state.json`, 'utf8'));
  expect(saved.best_model_checkpoint).toBe(`${out}/checkpoint-4`);
  const best = await make([Forgets], { ...every, lr_scheduler_type: 'constant', save_strategy: 'best' });
  await best.train();
  expect(best.run?.checkpoints.map((path) => path.replace(/^.*-/, ''))).toEqual(['2', '4']);
  expect((await best.evaluate()).eval_loss).toBe(best.state.best_metric);
});

it('evaluations that are asked for beside those that are due change nothing of the run, and leave what is due', async () => {
  const args = {
    ...{ eval_strategy: 'steps', eval_steps: 2, save_strategy: 'best', metric_for_best_model: 'loss', max_steps: 8, logging_steps: 1 },
    ...{ lr_scheduler_type: 'reduce_lr_on_plateau', lr_scheduler_kwargs: { patience: 0, factor: 0.5, threshold: 0.5 } },
  };
  const ran = async (callbacks: object[], more: object = {}) => {
    const trainer = await make([new EarlyStoppingCallback({ early_stopping_patience: 3 }), ...callbacks], { ...args, ...more });
    await trainer.train();
    const { best_global_step, best_metric, log_history, global_step } = trainer.state;
    const steps = (name: string) => log_history.flatMap((entry) => (name in entry ? [[entry.step, entry[name]]] : []));
    const due = steps('eval_loss').filter(([step]) => step > 0 && step % 2 === 0);
    const evaluations = new Map(due as [number, number][]);
    const rates = steps('learning_rate');
    return { all: steps('eval_loss').length, best_global_step, best_metric, global_step, evaluations, rates, losses: steps('loss') };
  };
  const { all: few, ...plain } = await ran([]);
  expect(new Set(plain.rates.map(([, rate]) => rate)).size, 'the rate is lowered').toBeGreaterThan(2);
  // On start, at each step by a callback of the user's, and by the button.
  const asks = {
    on_step_end: async (_: unknown, __: unknown, ___: unknown, { trainer }: CallbackContext) => {
      await trainer.evaluate();
      void (trainer as unknown as { handle: Handle }).handle.ask('evaluate');
    },
  };
  const { all: many, ...besides } = await ran([asks], { eval_on_start: true });
  expect(many).toBe(few + 1 + 8 + 8);
  expect(besides).toEqual(plain);
});

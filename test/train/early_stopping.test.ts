import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { EarlyStoppingCallback } from '../../src/index';
import { evaluated, make } from './small_runs';

it('stops after the evaluations after which transformers stops, and remembers the same', async () => {
  const random = Random.seeded(3);
  const settings = [
    { early_stopping_patience: 1 },
    { early_stopping_patience: 2, early_stopping_threshold: 0.05 },
    { early_stopping_patience: 3, early_stopping_threshold: 0.2 },
  ];
  const cases = settings.flatMap((options) =>
    ['loss', 'eval_accuracy'].map((metric_for_best_model) => ({
      args: { metric_for_best_model },
      callbacks: { EarlyStoppingCallback: options },
      evaluations: Array.from({ length: 20 }, (_, i) => ({
        eval_loss: 2 / (1 + i) + random.uniform() / 4,
        eval_accuracy: random.uniform(),
      })),
    })),
  );
  const { ours, theirs } = await evaluated(cases, { EarlyStoppingCallback });
  expect(ours).toEqual(theirs);
  expect(new Set(ours.map((steps) => steps.findIndex(([, , stops]) => stops))).size, 'they stop at different times').toBeGreaterThan(2);
});

it('ends a run whose evaluations do not get better, saved, with who ended it; resumed it counts on', async () => {
  const options = { early_stopping_patience: 2, early_stopping_threshold: 100 };
  const args = {
    eval_strategy: 'steps',
    eval_steps: 1,
    metric_for_best_model: 'loss',
    max_steps: 20,
    save_strategy: 'steps',
    save_steps: 2,
  };
  const trainer = await make([new EarlyStoppingCallback(options)], args);
  const { stopped, global_step, checkpoint } = await trainer.train();
  expect([stopped, global_step]).toEqual([true, 3]);
  expect(trainer.run!.events.at(-1)!.text).toBe(`stopped by EarlyStoppingCallback after step 3; saved ${checkpoint}`);
  const again = await make([new EarlyStoppingCallback(options)], { ...args, output_dir: trainer.args.output_dir });
  await again.train({ resume_from_checkpoint: `${trainer.args.output_dir}/checkpoint-2` });
  expect(again.run!.step).toBe(3);
});

it('says what it needs', async () => {
  const bare = await make([EarlyStoppingCallback], { eval_strategy: 'steps' });
  await expect(bare.train()).rejects.toThrow(/needs metric_for_best_model and an eval_strategy .* but they are null and steps/);
  expect(() => new EarlyStoppingCallback({ early_stopping_patience: 0 })).toThrow(
    /early_stopping_patience must be a whole number of at least 1/,
  );
  expect(() => new EarlyStoppingCallback({ patience: 1 } as object)).toThrow(/has no option patience/);
});

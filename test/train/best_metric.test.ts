import { expect, it } from 'vitest';
import { SFTConfig } from '../../src/index';
import { evaluated, make } from './small_runs';

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
  await expect((await make([], { ...args, metric_for_best_model: 'f1' })).train()).rejects.toThrow(
    /metric_for_best_model = 'f1' is not among what an evaluation came to: eval_loss, perplexity.*saved in/,
  );
  expect(() => new SFTConfig({ metric_for_best_model: '' })).toThrow(/metric_for_best_model must be the name/);
  expect(() => new SFTConfig({ greater_is_better: true })).toThrow(/greater_is_better = true .* needs metric_for_best_model/);
});

import { expect, it } from 'vitest';
import { SFTConfig, TrainerCallback, type TrainerControl } from '../../src/index';
import { rateFactor, SCHEDULES } from '../../src/train/schedules';
import { peer } from '../peer';
import { make, tinyModel } from './small_runs';

/** Settings that transformers refuses, and some beside them that it takes: [arguments, whether there are rows to evaluate on, our words]. */
const SETTINGS: [args: Record<string, unknown>, rows: boolean, refused?: RegExp][] = [
  [{}, false],
  [{ eval_strategy: 'no', eval_steps: 2 }, false],
  [{ eval_strategy: 'steps' }, true],
  [
    { eval_strategy: 'steps' },
    false,
    /eval_strategy = 'steps' needs rows to evaluate on.*Give the trainer one, or set eval_strategy to 'no'/,
  ],
  [{ eval_strategy: 'epoch' }, false, /eval_strategy = 'epoch' needs rows/],
  [{ eval_strategy: 'often' }, true, /eval_strategy = 'often' is not one of/],
  [{ eval_strategy: 'steps', eval_steps: 0.5, save_steps: 0.5, logging_steps: 0.5 }, true],
  [
    { eval_strategy: 'steps', eval_steps: 2.5 },
    true,
    /eval_steps must be a whole number greater than 0, but is 2.5. .*below 1 it is a share/,
  ],
  [{ save_strategy: 'steps', save_steps: 2.5 }, true, /save_steps must be a whole number/],
  [{ logging_steps: 2.5 }, true, /logging_steps must be a whole number/],
  [{ logging_steps: 0 }, true, /logging_steps must be a number greater than 0/],
  [{ warmup_steps: -1 }, true, /warmup_steps must be a number of at least 0/],
  [{ fp16: true, bf16: true }, true, /fp16 = true is not supported/],
  [{ optim: 'adamm' }, true, /optim = 'adamm' is not one of/],
  [{ load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 2, save_strategy: 'steps', save_steps: 4 }, true],
  [{ load_best_model_at_end: true, eval_strategy: 'epoch', save_strategy: 'best' }, true],
  [
    { load_best_model_at_end: true, save_strategy: 'steps' },
    true,
    /eval_strategy and save_strategy must be the same .* but are 'no' and 'steps'/,
  ],
  [{ load_best_model_at_end: true, eval_strategy: 'epoch', save_strategy: 'steps' }, true, /must be the same/],
  [
    { load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 2, save_strategy: 'steps', save_steps: 3 },
    true,
    /save_steps \(3\) must be a multiple of eval_steps \(2\)/,
  ],
  [
    { load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 0.1, save_strategy: 'steps', save_steps: 3 },
    true,
    /both as steps or both as shares/,
  ],
  [{ load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 0.1, save_strategy: 'steps', save_steps: 0.3 }, true],
  [{ save_strategy: 'best', eval_strategy: 'steps' }, true, /save_strategy = 'best' saves where metric_for_best_model got better/],
  [{ lr_scheduler_type: 'cosine', lr_scheduler_kwargs: { num_cycles: 2 } }, true],
  [{ optim: 'sgd', optim_args: 'momentum=0.9' }, true],
  [{ lr_scheduler_type: 'cosinus' }, true, /lr_scheduler_type = 'cosinus' is not one of/],
];

/** Schedules with their own options, steps of warmup and steps in all. */
const RATES: [type: string, kwargs: Record<string, number | string> | null, warmup: number, total: number][] = [
  ...Object.keys(SCHEDULES)
    .filter((type) => !['cosine_with_min_lr', 'cosine_warmup_with_min_lr', 'warmup_stable_decay', 'reduce_lr_on_plateau'].includes(type))
    .flatMap((type): [string, null, number, number][] => [
      [type, null, 0, 7],
      [type, null, 4, 20],
    ]),
  ['cosine', { num_cycles: 1.5 }, 3, 20],
  ['cosine_with_restarts', { num_cycles: 3 }, 3, 20],
  ['cosine_with_min_lr', { min_lr: 1e-4 }, 3, 20],
  ['cosine_with_min_lr', { min_lr_rate: 0.1, num_cycles: 1 }, 0, 20],
  ['cosine_warmup_with_min_lr', { min_lr_rate: 0.1 }, 3, 20],
  ['cosine_warmup_with_min_lr', { min_lr: 1e-4, warmup_lr_rate: 0.2, num_cycles: 1 }, 4, 20],
  ['polynomial', { power: 2, lr_end: 1e-4 }, 3, 20],
  ['inverse_sqrt', { timescale: 5 }, 3, 20],
  ['warmup_stable_decay', { num_decay_steps: 6 }, 3, 20],
  ['warmup_stable_decay', { num_decay_steps: 6, warmup_type: 'cosine', decay_type: '1-sqrt', min_lr_ratio: 0.1 }, 3, 20],
  ['warmup_stable_decay', { num_decay_steps: 6, num_stable_steps: 4, warmup_type: '1-sqrt', decay_type: 'linear' }, 3, 20],
];

it('settings that do not fit together are refused as in transformers, with what to do; rates are those of transformers', async () => {
  const cases = SETTINGS.map(([args, rows]) => ({ args, rows }));
  const { refused: theirs, rates } = peer<{ refused: (string | null)[]; rates: number[][] }>(
    'settings',
    { folder: await tinyModel(), cases, lr: 3e-3, rates: RATES },
    'peer_train.py',
  );
  for (const [i, [lr_scheduler_type, lr_scheduler_kwargs, warmup, total]] of RATES.entries()) {
    const factor = rateFactor({ learning_rate: 3e-3, lr_scheduler_type, lr_scheduler_kwargs }, { warmup, total });
    for (const [step, rate] of rates[i].entries())
      expect(
        Math.abs(3e-3 * factor(step) - rate),
        `${lr_scheduler_type} ${JSON.stringify(lr_scheduler_kwargs)}, step ${step}`,
      ).toBeLessThan(1e-9);
  }
  for (const [i, [args, rows, words]] of SETTINGS.entries()) {
    const what = JSON.stringify(args);
    expect(theirs[i] !== null, `${what} in transformers: ${theirs[i]}`).toBe(Boolean(words));
    const ours = make([], args, undefined, rows);
    if (words) await expect(ours, what).rejects.toThrow(words);
    else await ours;
  }
});

it('a schedule has its own options and no others', () => {
  const config = (lr_scheduler_type: string, lr_scheduler_kwargs: unknown) => () =>
    new SFTConfig({ lr_scheduler_type, lr_scheduler_kwargs: lr_scheduler_kwargs as null });
  expect(config('linear', { num_cycles: 2 })).toThrow(/lr_scheduler_kwargs of 'linear' has no option num_cycles/);
  expect(config('cosine', { num_cycle: 2 })).toThrow(/Did you mean num_cycles/);
  expect(config('cosine', { num_cycles: 'two' })).toThrow(/num_cycles must be a number, but is 'two'. 0.5 is usual/);
  expect(config('cosine', 3)).toThrow(/lr_scheduler_kwargs must be an object/);
  expect(config('cosine_with_min_lr', null)).toThrow(/needs one of min_lr .* and min_lr_rate/);
  expect(config('cosine_with_min_lr', { min_lr: 1e-5, min_lr_rate: 0.1 })).toThrow(/needs one of min_lr/);
  expect(config('warmup_stable_decay', {})).toThrow(/needs num_decay_steps/);
  expect(config('warmup_stable_decay', { num_decay_steps: 3, decay_type: 'slow' })).toThrow(
    /decay_type = 'slow' is not one of linear, cosine, 1-sqrt/,
  );
});

it('an evaluation that a callback asks for where there are no rows ends the run, with what was trained saved', async () => {
  class Asks extends TrainerCallback {
    override on_step_end(_: unknown, { global_step }: { global_step: number }, control: TrainerControl): void {
      if (global_step === 2) control.should_evaluate = true;
    }
  }
  const trainer = await make([Asks], {}, undefined, false);
  await expect(trainer.train()).rejects.toThrow(
    /There is nothing to evaluate on: give the trainer an eval_dataset. All that was trained is saved in .*checkpoint-2/,
  );
  expect(trainer.run?.status).toBe('failed');
  await expect(trainer.evaluate()).rejects.toThrow(/There is nothing to evaluate on/);
});

import { expect, it } from 'vitest';
import { TrainerCallback, type TrainerControl } from '../../src/index';
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
  [{ lr_scheduler_type: 'cosinus' }, true, /lr_scheduler_type = 'cosinus' is not one of/],
];

it('settings that do not fit together are refused as in transformers, with what to do', async () => {
  const given = SETTINGS.map(([args, rows]) => ({ args, rows }));
  const theirs = peer<(string | null)[]>('refused', { folder: await tinyModel(), cases: given }, 'peer_train.py');
  for (const [i, [args, rows, words]] of SETTINGS.entries()) {
    const what = JSON.stringify(args);
    expect(theirs[i] !== null, `${what} in transformers: ${theirs[i]}`).toBe(Boolean(words));
    const ours = make([], args, undefined, rows);
    if (words) await expect(ours, what).rejects.toThrow(words);
    else await ours;
  }
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

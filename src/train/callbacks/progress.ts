import { emit } from '../../core/events';
import { mebibytes } from '../../engine/memory';
import type { TrainingOptions } from '../config';
import type { Run } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

const clock = (s: number) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;

/** The line of progress: loss, speed, time that has passed (pauses left out) and is left, memory. */
export class ProgressCallback extends TrainerCallback {
  private began = 0;
  private firstStep = 0;

  override on_train_begin(_: TrainingOptions, { global_step }: TrainerState): void {
    this.began = performance.now();
    this.firstStep = global_step;
  }

  override on_step_end({ disable_tqdm }: TrainingOptions, state: TrainerState, _: TrainerControl, context: CallbackContext): void {
    if (disable_tqdm) return;
    const { id, series, memory, pausedSeconds } = context.run as Run;
    const { global_step: step, max_steps: total } = state;
    const seconds = (performance.now() - this.began) / 1000 - pausedSeconds;
    const left = (seconds / (step - this.firstStep)) * (total - step);
    const recent = series.tokens_per_second.slice(-10);
    const speed = recent.reduce((sum, [, v]) => sum + v, 0) / recent.length;
    emit('progress', {
      id: `train ${id}`,
      done: step === total,
      text:
        `step ${step}/${total}  loss ${series.loss.at(-1)?.[1].toFixed(4)}  ${Math.round(speed)} tokens/s  ` +
        `${clock(seconds)} elapsed, ${clock(left)} left  ${mebibytes(memory.residentBytes)} resident`,
    });
  }
}

import type { TrainingOptions } from '../config';
import { note, type Run } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** Notes when the model begins to memorise. */
export class OverfittingCallback extends TrainerCallback {
  override on_evaluate(_: TrainingOptions, __: TrainerState, ___: TrainerControl, { run }: CallbackContext): void {
    if (run) watchOverfitting(run);
  }
}

/**
 * Notes that the model begins to memorise: evaluation loss has risen twice in a row while training loss fell. Said once for
 * each lowest point.
 */
export function watchOverfitting(run: Run): void {
  const evaluations = run.series.eval_loss;
  if (evaluations.length < 3) return;
  const [[first, best], [, middle], [, last]] = evaluations.slice(-3);
  if (!(best < middle && middle < last) || evaluations.some(([, loss]) => loss < best)) return;
  const mean = (from: number, to: number) => {
    const inside = run.series.loss.filter(([step]) => step > from && step <= to).map(([, loss]) => loss);
    return inside.reduce((sum, loss) => sum + loss, 0) / inside.length;
  };
  const before = evaluations.at(-4)?.[0] ?? 0;
  if (!(mean(first, run.step) < mean(before, first))) return;
  const show = (loss: number) => loss.toFixed(3);
  note(
    run,
    'overfitting',
    `Evaluation loss rose twice in a row (${show(best)}, ${show(middle)}, ${show(last)}) while training loss fell: the model begins to memorise its rows. ` +
      `It was best at step ${first}.`,
  );
}

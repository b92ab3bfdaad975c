import { basename } from 'node:path';
import { OptionError } from '../../core/errors';
import { emit } from '../../core/events';
import { figureOf, moreIsBetter } from '../best';
import type { TrainingOptions } from '../config';
import { note } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** The value of the metric that `metric_for_best_model` names, which may leave out 'eval_'; undefined where none is named. */
export function bestMetricOf({ metric_for_best_model: wanted }: TrainingOptions, metrics: Record<string, number>): number | undefined {
  if (wanted === null) return undefined;
  const name = figureOf(wanted, Object.keys(metrics));
  if (name !== undefined) return metrics[name];
  throw new OptionError(
    `metric_for_best_model = '${wanted}' is not among what an evaluation came to: ${Object.keys(metrics).join(', ')}. Give one of these.`,
  );
}

/** Whether one value of that metric is better than another. */
export const isBetter = ({ greater_is_better: greater, metric_for_best_model: name }: TrainingOptions, a: number, b: number): boolean =>
  (greater ?? moreIsBetter(name ?? '')) ? a > b : a < b;

/** Notes the best value of `metric_for_best_model`, and its step, in the run's state; saves there, and goes back there in the end, where the options say so. */
export class BestMetricCallback extends TrainerCallback {
  override on_evaluate(args: TrainingOptions, state: TrainerState, control: TrainerControl, context: CallbackContext): void {
    const { metrics, run, beside } = context;
    if (!run || beside) return;
    const value = bestMetricOf(args, metrics);
    if (value === undefined || !(state.best_metric === null || isBetter(args, value, state.best_metric))) return;
    state.best_metric = value;
    state.best_global_step = state.global_step;
    if (args.save_strategy === 'best') control.should_save = true;
  }

  override async on_train_end(args: TrainingOptions, state: TrainerState, _: TrainerControl, context: CallbackContext): Promise<void> {
    const { best_model_checkpoint: best, best_metric } = state;
    if (!args.load_best_model_at_end || best === null) return;
    await context.model.restore(best);
    const text = `the model is that of ${basename(best)} again: its ${args.metric_for_best_model} was best (${best_metric})`;
    if (context.run) note(context.run, 'checkpoint', text);
    emit('progress', { id: 'best', text: `${text[0].toUpperCase()}${text.slice(1)}.`, done: true });
  }
}

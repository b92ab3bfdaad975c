import { OptionError } from '../../core/errors';
import { checkNumber, readOptions } from '../../core/options';
import type { TrainingOptions } from '../config';
import type { TrainerState } from '../state';
import { bestMetricOf, isBetter } from './best_metric';
import { type CallbackContext, type CallbackState, TrainerCallback, type TrainerControl } from './callback';

const DEFAULTS = { early_stopping_patience: 1, early_stopping_threshold: 0 };

/** Ends a run when `metric_for_best_model` has not got better by more than a threshold in so many evaluations, as transformers does. */
export class EarlyStoppingCallback extends TrainerCallback {
  private readonly options: typeof DEFAULTS;
  private early_stopping_patience_counter = 0;

  constructor(options: Partial<typeof DEFAULTS> = {}) {
    super();
    this.options = readOptions('EarlyStoppingCallback', options, DEFAULTS);
    const { early_stopping_patience: patience, early_stopping_threshold: threshold } = this.options;
    const whole = { integer: true, min: 1 };
    checkNumber('EarlyStoppingCallback', 'early_stopping_patience', patience, whole, 'It is a number of evaluations.');
    checkNumber(
      'EarlyStoppingCallback',
      'early_stopping_threshold',
      threshold,
      { min: 0 },
      'It is by how much the metric must get better.',
    );
  }

  /** An OptionError where nothing is measured that could get better. */
  override on_train_begin({ metric_for_best_model, eval_strategy }: TrainingOptions): void {
    if (metric_for_best_model === null || eval_strategy === 'no')
      throw new OptionError(
        `EarlyStoppingCallback needs metric_for_best_model and an eval_strategy of steps or epoch, but they are ${metric_for_best_model} and ${eval_strategy}.`,
      );
  }

  /** Counts evaluations that bring nothing better, and ends the run after enough of them. */
  override on_evaluate(
    args: TrainingOptions,
    { best_metric: best }: TrainerState,
    control: TrainerControl,
    context: CallbackContext,
  ): void {
    if (context.beside) return;
    const value = bestMetricOf(args, context.metrics) as number;
    const { early_stopping_patience: patience, early_stopping_threshold: threshold } = this.options;
    const improved = best === null || (isBetter(args, value, best) && Math.abs(value - best) > threshold);
    this.early_stopping_patience_counter = improved ? 0 : this.early_stopping_patience_counter + 1;
    if (this.early_stopping_patience_counter >= patience) control.should_training_stop = true;
  }

  override state(): CallbackState {
    return { args: { ...this.options }, attributes: { early_stopping_patience_counter: this.early_stopping_patience_counter } };
  }
}

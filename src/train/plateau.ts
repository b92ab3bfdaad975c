import { OptionError } from '../core/errors';
import { checkNumber, checkOneOf } from '../core/options';
import { bestMetricOf } from './callbacks/best_metric';
import type { TrainingOptions } from './options';

/** The name of the schedule. */
export const ON_PLATEAU = 'reduce_lr_on_plateau';

/** Its `lr_scheduler_kwargs`: torch's ReduceLROnPlateau. */
export const PLATEAU = {
  mode: 'min',
  factor: 0.1,
  patience: 10,
  threshold: 1e-4,
  threshold_mode: 'rel',
  cooldown: 0,
  min_lr: 0,
  eps: 1e-8,
};

/** Where it is: what a checkpoint holds of it. */
export interface PlateauState {
  factor: number;
  best: number | null;
  num_bad_epochs: number;
  cooldown_counter: number;
}

/** Fails where the schedule could not work; takes the loss where no metric is named, as transformers does. */
export function checkPlateau(owner: string, o: TrainingOptions): void {
  if (o.lr_scheduler_type !== ON_PLATEAU) return;
  if (o.eval_strategy === 'no')
    throw new OptionError(
      `${owner}: lr_scheduler_type = '${ON_PLATEAU}' lowers the rate where evaluations do not get better, but eval_strategy is 'no'. Set it to 'steps' or 'epoch'.`,
    );
  o.metric_for_best_model ??= 'loss';
  const given = { ...PLATEAU, ...o.lr_scheduler_kwargs };
  const what = `lr_scheduler_kwargs of '${ON_PLATEAU}'`;
  checkNumber(what, 'factor', given.factor, { above: 0, below: 1 }, 'The rate is multiplied with it.');
  for (const [name, values] of Object.entries({ mode: ['min', 'max'], threshold_mode: ['rel', 'abs'] }))
    checkOneOf(what, name, given[name as 'mode'], values);
}

/** Lowers the rate where the metric of evaluations (metric_for_best_model) has not got better for a while, as torch's ReduceLROnPlateau. */
export class Plateau {
  private readonly options: typeof PLATEAU;
  state: PlateauState = { factor: 1, best: null, num_bad_epochs: 0, cooldown_counter: 0 };

  constructor(private readonly args: TrainingOptions) {
    this.options = { ...PLATEAU, ...args.lr_scheduler_kwargs };
  }

  private isBetter(value: number, best: number | null): boolean {
    const { mode, threshold, threshold_mode: how } = this.options;
    if (best === null) return true;
    const sign = mode === 'min' ? -1 : 1;
    return sign * value > sign * (how === 'rel' ? best * (1 + sign * threshold) : best + sign * threshold);
  }

  /** Takes what an evaluation came to. */
  measured(metrics: Record<string, number>): void {
    const { state, options } = this;
    const value = bestMetricOf(this.args, metrics) as number;
    if (this.isBetter(value, state.best)) Object.assign(state, { best: value, num_bad_epochs: 0 });
    else state.num_bad_epochs++;
    if (state.cooldown_counter > 0) {
      state.cooldown_counter--;
      state.num_bad_epochs = 0;
    }
    if (state.num_bad_epochs <= options.patience) return;
    const { learning_rate: peak } = this.args;
    const now = peak * state.factor;
    const next = Math.max(now * options.factor, options.min_lr);
    if (now - next > options.eps) state.factor = next / peak;
    state.cooldown_counter = options.cooldown;
    state.num_bad_epochs = 0;
  }
}

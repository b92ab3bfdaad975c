import { OptionError } from '../../core/errors';
import { emit } from '../../core/events';
import { checkNumber, checkOneOf, readOptions } from '../../core/options';
import type { Parameter } from '../../nn';
import type { TrainingOptions } from '../config';
import { isBelow, layerOf } from '../groups';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

const DEFAULTS = { layers: 1, every: 1, unit: 'epoch' as 'epoch' | 'steps' };

/**
 * Gradual unfreezing (Howard and Ruder, 2018, https://arxiv.org/abs/1801.06146): what is trained begins with the top `layers` and what stands
 * above them, and so many more come each `every` epochs or steps; what stands below the layers comes with the last.
 */
export class GradualUnfreezingCallback extends TrainerCallback {
  private readonly options: typeof DEFAULTS;
  private trained = new Map<string, Parameter>();
  private top = 0;
  private lowest = Number.POSITIVE_INFINITY;

  constructor(options: Partial<typeof DEFAULTS> = {}) {
    super();
    this.options = readOptions('GradualUnfreezingCallback', options, DEFAULTS);
    const { layers, every, unit } = this.options;
    const whole = { integer: true, min: 1 };
    checkNumber('GradualUnfreezingCallback', 'layers', layers, whole, 'It is how many layers are added each time.');
    checkNumber('GradualUnfreezingCallback', 'every', every, whole, "It is a number of epochs, or of steps where unit is 'steps'.");
    checkOneOf('GradualUnfreezingCallback', 'unit', unit, ['epoch', 'steps']);
  }

  /** Freezes the blocks that are trained later. */
  override on_train_begin(_: TrainingOptions, state: TrainerState, __: TrainerControl, { model }: CallbackContext): void {
    this.trained = new Map(model.namedParameters());
    const layers = [...this.trained.keys()].flatMap((name) => layerOf(name) ?? []);
    if (!layers.length) throw new OptionError('GradualUnfreezingCallback: nothing that is trained stands in a layer.');
    this.top = Math.max(...layers);
    this.lowest = Number.POSITIVE_INFINITY;
    this.turn(state);
  }

  /** Unfreezes the next blocks when their step has come. */
  override on_step_begin(_: TrainingOptions, state: TrainerState): void {
    this.turn(state);
  }

  /** What was trained when it began may be trained again. */
  override on_train_end(): void {
    this.run_over();
  }

  /** The same where the run failed. */
  override run_over(): void {
    for (const parameter of this.trained.values()) parameter.requires_grad = true;
  }

  /** Trains what is to be trained by now. */
  private turn({ epoch, global_step }: TrainerState): void {
    const { layers, every, unit } = this.options;
    const turns = Math.floor((unit === 'steps' ? global_step : epoch) / every);
    const lowest = Math.max(0, this.top + 1 - layers * (1 + turns));
    if (lowest === this.lowest) return;
    for (const [name, parameter] of this.trained)
      parameter.requires_grad = isBelow(name) ? lowest === 0 : (layerOf(name) ?? this.top) >= lowest;
    this.lowest = lowest;
    const which = lowest === this.top ? `layer ${lowest}` : `layers ${lowest} to ${this.top}`;
    emit('progress', { id: 'unfreezing', text: `From step ${global_step + 1} on ${which} are trained.`, done: true });
  }
}

import type { TrainingOptions } from '../config';
import type { TrainerState } from '../state';
import { TrainerCallback, type TrainerControl } from './callback';

/** When to log, evaluate, save and end, as the options say. */
export class DefaultFlowCallback extends TrainerCallback {
  override on_step_end(args: TrainingOptions, state: TrainerState, control: TrainerControl): void {
    const step = state.global_step;
    const isLogged = args.logging_strategy === 'steps' && step % state.logging_steps === 0;
    if (isLogged || (step === 1 && args.logging_first_step)) control.should_log = true;
    const evaluates = args.eval_strategy === 'steps' && args.eval_delay <= step;
    if (evaluates && step % state.eval_steps === 0) control.should_evaluate = true;
    if (args.save_strategy === 'steps' && step % state.save_steps === 0) control.should_save = true;
    if (step < state.max_steps) return;
    control.should_training_stop = true;
    if (evaluates) control.should_evaluate = true;
    if (args.save_strategy === 'steps') control.should_save = true;
  }

  override on_epoch_end(args: TrainingOptions, { epoch }: TrainerState, control: TrainerControl): void {
    if (args.logging_strategy === 'epoch') control.should_log = true;
    if (args.eval_strategy === 'epoch' && args.eval_delay <= epoch) control.should_evaluate = true;
    if (args.save_strategy === 'epoch') control.should_save = true;
  }
}

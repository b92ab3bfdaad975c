import { InterruptedError } from '../../core/errors';
import type { TrainingOptions } from '../config';
import { warn } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** Where prompts are given, asks the model before each checkpoint, so that the checkpoint holds what it answered. */
export class SamplesCallback extends TrainerCallback {
  override on_step_end(args: TrainingOptions, _: TrainerState, control: TrainerControl, context: CallbackContext): Promise<void> {
    return take(args, control, context);
  }

  override on_epoch_end(args: TrainingOptions, _: TrainerState, control: TrainerControl, context: CallbackContext): Promise<void> {
    return take(args, control, context);
  }
}

/** The run is worth more than one sample; the next may succeed. */
async function take({ sample_prompts }: TrainingOptions, { should_save }: TrainerControl, { trainer, run }: CallbackContext) {
  if (!should_save || !sample_prompts.length || !run) return;
  try {
    run.samples.push(...(await trainer.sample()));
  } catch (error) {
    if (error instanceof InterruptedError) throw error;
    warn(run, (error as Error).message, 'No sample could be taken.');
  }
}

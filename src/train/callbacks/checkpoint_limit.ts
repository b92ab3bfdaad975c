import { basename } from 'node:path';
import type { TrainingOptions } from '../config';
import { checkpointsIn, forgetOld, metIn, othersIn } from '../output_dir';
import { type Run, warn } from '../run';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** Keeps the last checkpoints of a run (save_total_limit), and says where another run's lie in its folder. */
export class CheckpointLimitCallback extends TrainerCallback {
  /** When the newest checkpoint in the folder was saved as the run began. */
  private newest = 0;
  private isAlone = true;

  override on_train_begin(args: TrainingOptions, _: TrainerState, __: TrainerControl, { trainer, run }: CallbackContext): void {
    const others = othersIn(args.output_dir, trainer.lineage, args.save_total_limit);
    if (others) warn(run as Run, others);
    this.newest = checkpointsIn(args.output_dir).at(-1)?.savedAt ?? 0;
    this.isAlone = true;
  }

  override async on_save(args: TrainingOptions, state: TrainerState, __: TrainerControl, { trainer, run }: CallbackContext): Promise<void> {
    const { checkpoints } = run as Run;
    const gone = await forgetOld(args.output_dir, trainer.lineage, args.save_total_limit, {
      best: state.best_model_checkpoint,
      both: args.load_best_model_at_end,
    });
    (run as Run).checkpoints = checkpoints.filter((path) => !gone.includes(path));
    const met = this.isAlone && metIn(args.output_dir, trainer.lineage, this.newest);
    if (!met) return;
    this.isAlone = false;
    warn(
      run as Run,
      `Another run saves into '${args.output_dir}' at the same time (${basename(met.path)}). Each deletes only its own checkpoints, but of the same step the later one stays: give one of them another output_dir.`,
    );
  }
}

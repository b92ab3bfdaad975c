import { hostname } from 'node:os';
import { join } from 'node:path';
import { EventFile } from '../../formats/tfevents';
import type { TrainingOptions } from '../config';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';

/** As transformers names its TensorBoard folders: Nov21_10-15-30_host. */
function runFolder(): string {
  const now = new Date();
  const two = (n: number) => String(n).padStart(2, '0');
  const month = now.toLocaleString('en-US', { month: 'short' });
  return `${month}${two(now.getDate())}_${two(now.getHours())}-${two(now.getMinutes())}-${two(now.getSeconds())}_${hostname()}`;
}

/** eval_x becomes eval/x, everything else train/x. */
const boardNames = (entry: Record<string, number>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(entry).flatMap(([name, v]) =>
      name === 'step' ? [] : [[name.startsWith('eval_') ? `eval/${name.slice(5)}` : `train/${name}`, v]],
    ),
  );

/** A TensorBoard log under output_dir/runs, or where TENSORBOARD_LOGGING_DIR says, as transformers lays it out. */
export class TensorBoardCallback extends TrainerCallback {
  private file?: EventFile;

  override on_train_begin({ output_dir }: TrainingOptions): void {
    this.file = new EventFile(process.env.TENSORBOARD_LOGGING_DIR ?? join(output_dir, 'runs', runFolder()));
  }

  override on_log(_: TrainingOptions, { global_step }: TrainerState, __: TrainerControl, { logs }: CallbackContext): void {
    this.file?.scalars(global_step, boardNames(logs));
  }
}

import { hostname } from 'node:os';
import { join } from 'node:path';
import { take } from '../../engine/backend';
import { EventFile } from '../../formats/tfevents';
import type { PretrainedModel } from '../../models/pretrained';
import { baseOf } from '../../peft/model';
import type { TrainingOptions } from '../config';
import { withoutToken } from '../hub_options';
import type { TrainerState } from '../state';
import { type CallbackContext, TrainerCallback, type TrainerControl } from './callback';
import { trackedNames } from './figures';

/** As transformers names its TensorBoard folders: Nov21_10-15-30_host. */
function runFolder(): string {
  const now = new Date();
  const two = (n: number) => String(n).padStart(2, '0');
  const month = now.toLocaleString('en-US', { month: 'short' });
  return `${month}${two(now.getDate())}_${two(now.getHours())}-${two(now.getMinutes())}-${two(now.getSeconds())}_${hostname()}`;
}

/** What histograms may take of a run's time: they are left out while they would take more. */
const SHARE = 0.005;
/** Values of a tensor that its histogram is made of, at most. */
const SAMPLE = 1 << 15;

/**
 * A TensorBoard log in logging_dir, where TENSORBOARD_LOGGING_DIR says, or under output_dir/runs, with transformers' tags: what is logged, and
 * settings as texts. Besides, histograms of what is trained, at checkpoints and at the end.
 */
export class TensorBoardCallback extends TrainerCallback {
  private file?: EventFile;
  private began = 0;
  private spent = 0;

  override on_train_begin(args: TrainingOptions, { global_step: step }: TrainerState, _: TrainerControl, { model }: CallbackContext): void {
    const { output_dir, logging_dir } = args;
    this.file = new EventFile(logging_dir ?? process.env.TENSORBOARD_LOGGING_DIR ?? join(output_dir, 'runs', runFolder()));
    Object.assign(this, { began: performance.now(), spent: 0 });
    this.file.text(step, 'args', JSON.stringify(withoutToken(args), null, 2));
    this.file.text(step, 'model_config', JSON.stringify(baseOf<PretrainedModel>(model).config, null, 2));
  }

  override on_log(_: TrainingOptions, { global_step }: TrainerState, __: TrainerControl, { logs }: CallbackContext): void {
    this.file?.scalars(global_step, trackedNames(logs));
  }

  override on_save(_: TrainingOptions, { global_step }: TrainerState, __: TrainerControl, { model }: CallbackContext): Promise<void> {
    return this.histograms(global_step, model);
  }

  override on_train_end(_: TrainingOptions, { global_step }: TrainerState, __: TrainerControl, { model }: CallbackContext): Promise<void> {
    return this.histograms(global_step, model);
  }

  override run_over(): void {
    this.file?.close();
    this.file = undefined;
  }

  /** The values of every trained tensor, as far as there is time for it; the first set of a run is always there. */
  private async histograms(step: number, model: CallbackContext['model']): Promise<void> {
    const before = this.spent;
    for (const [name, { tensor }] of model.namedParameters()) {
      const now = performance.now();
      if (before > 0 && this.spent > SHARE * (now - this.began)) return;
      const values = await take(tensor.clone());
      const every = Math.ceil(values.length / SAMPLE);
      this.file?.histogram(step, name, every > 1 ? values.filter((_, i) => i % every === 0) : values);
      this.spent += performance.now() - now;
    }
  }
}

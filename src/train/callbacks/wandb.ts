import type { TrainingOptions } from '../config';
import type { Run } from '../run';
import { PythonTracker, pythonHas } from './python_tracker';

/** A run of Weights & Biases: offline (wandb/offline-run-..., sent by `wandb sync`), unless WANDB_MODE says otherwise. Its environment variables hold. */
export class WandbCallback extends PythonTracker {
  protected override readonly tool = 'wandb';

  static atHand = (): boolean => pythonHas('wandb');

  protected override environment(): Record<string, string> {
    return { WANDB_MODE: process.env.WANDB_MODE ?? 'offline', WANDB_SILENT: 'true' };
  }

  protected override finish({ status }: Run): Record<string, unknown> {
    return { exit_code: status === 'failed' ? 1 : 0 };
  }

  protected override init({ run_name, project }: TrainingOptions, { name }: Run): Record<string, unknown> {
    return { project: process.env.WANDB_PROJECT ?? project, name: process.env.WANDB_NAME ?? run_name ?? name };
  }
}

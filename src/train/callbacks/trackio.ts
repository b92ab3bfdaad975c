import type { TrainingOptions } from '../config';
import type { Run } from '../run';
import { PythonTracker, pythonHas } from './python_tracker';

/** A run in Trackio's own store (TRACKIO_DIR, or trackio in HF_HOME), which `trackio show` shows. */
export class TrackioCallback extends PythonTracker {
  protected override readonly tool = 'trackio';

  static atHand = (): boolean => pythonHas('trackio');

  protected override init({ run_name, project, hub_private_repo }: TrainingOptions, { name }: Run): Record<string, unknown> {
    return { project, name: run_name ?? name, resume: 'allow', private: hub_private_repo };
  }
}

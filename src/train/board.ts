import { hostname } from 'node:os';
import { join } from 'node:path';
import { EventFile } from '../formats/tfevents';

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
export class Board {
  private readonly file: EventFile;

  constructor(outputDir: string) {
    this.file = new EventFile(process.env.TENSORBOARD_LOGGING_DIR ?? join(outputDir, 'runs', runFolder()));
  }

  log(step: number, entry: Record<string, number>): void {
    this.file.scalars(step, boardNames(entry));
  }
}

import { isAbsolute, relative } from 'node:path';
import type { RunData } from '../../views';
import type { Run } from '../train/run';

/** The run as views read it. A folder inside the notebook's is named from there, so that a view can open it. */
export function runData(run: Run): RunData {
  const inside = relative(process.cwd(), run.folder);
  const folder = inside.startsWith('..') || isAbsolute(inside) ? run.folder : inside || '.';
  return { ...run, folder, updatedAt: new Date().toISOString(), config: run.config as RunData['config'] };
}

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeText } from '../../formats/atomic';
import { readJson } from '../../formats/json';
import type { Point } from '../../train/run';

/** One run of a sweep, as its view shows it and its file keeps it. */
export interface SweepRun {
  /** The run's id; '' before it has begun. */
  id: string;
  name: string;
  folder: string;
  /** What was tried, as text, in the order of `vary`. */
  values: string[];
  status: 'waiting' | 'running' | 'paused' | 'finished' | 'stopped' | 'failed';
  step: number;
  totalSteps: number;
  /** Values that are trained. */
  parameters: number;
  seconds: number;
  peakBytes: number;
  score: number | null;
  /** What its score is by: another score is found anew. */
  scored: string;
  loss: Point[];
  eval_loss: Point[];
  /** What went wrong, where something did. */
  text: string;
  /** What it was made of: it is kept by a later sweep of the same. */
  made: string;
}

/** A sweep, while it goes and after. */
export interface SweepData {
  id: string;
  name: string;
  folder: string;
  status: 'running' | 'finished' | 'stopped' | 'failed';
  startedAt: string;
  /** The options that differ. */
  vary: string[];
  /** What runs are compared by. */
  score: string;
  greaterIsBetter: boolean;
  runs: SweepRun[];
  /** The index of the best run so far. */
  best: number | null;
}

const FILE = 'sweep.json';
/** Points of a curve that the file keeps. */
const MOST = 1000;

const few = (points: Point[]): Point[] => {
  const every = Math.ceil(points.length / MOST);
  return points.filter((_, i) => i % every === 0 || i === points.length - 1);
};

/** Whether a run is trained, so that nothing but its score can be missing. */
export const isDone = ({ status }: SweepRun): boolean => status === 'finished' || status === 'stopped';

/** Writes sweep.json into the sweep's folder, whole or not at all. */
export const saveSweep = (data: SweepData): Promise<void> =>
  writeText(
    join(data.folder, FILE),
    JSON.stringify({ ...data, runs: data.runs.map((run) => ({ ...run, loss: few(run.loss), eval_loss: few(run.eval_loss) })) }, null, 1),
  );

/** The runs of an earlier sweep in this folder, by what they were made of. A file that is none is as good as not there. */
export async function earlierRuns(folder: string): Promise<Map<string, SweepRun>> {
  const path = join(folder, FILE);
  if (!existsSync(path)) return new Map();
  const { runs } = (await readJson(path).catch(() => ({}))) as { runs?: SweepRun[] };
  return new Map((Array.isArray(runs) ? runs : []).filter(({ made }) => typeof made === 'string').map((run) => [run.made, run]));
}

/** The index of the run with the best score. */
export function bestOf({ runs, greaterIsBetter }: Pick<SweepData, 'runs' | 'greaterIsBetter'>): number | null {
  let best: number | null = null;
  for (const [i, { score }] of runs.entries()) {
    if (score === null || !Number.isFinite(score)) continue;
    const than = best === null ? undefined : (runs[best].score as number);
    if (than === undefined || (greaterIsBetter ? score > than : score < than)) best = i;
  }
  return best;
}

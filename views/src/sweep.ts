import { count, list, orNull, payloadFault, payloadSchema, record, type Schema, text } from './schema';
import { decodePoints, encodePoints, figure, MAX_POINTS, type Point, thin } from './series';

/** Several runs that differ in some options, as they travel from the library to their view. JSON Schema: SWEEP_SCHEMA. */
export const SWEEP_MIME = 'application/vnd.tunebook.sweep.v1+json';
export const SWEEP_SCHEMA_VERSION = 1;

export const SWEEP_RUN_STATUSES = ['waiting', 'running', 'paused', 'finished', 'stopped', 'failed'] as const;

/** One run of a sweep. */
export interface SweepRunData {
  /** The run's id; '' before it has begun. */
  id: string;
  name: string;
  folder: string;
  /** What was tried, in the order of the sweep's `vary`. */
  values: string[];
  status: (typeof SWEEP_RUN_STATUSES)[number];
  step: number;
  totalSteps: number;
  /** Values that are trained. */
  parameters: number;
  seconds: number;
  peakBytes: number;
  score: number | null;
  loss: Point[];
  eval_loss: Point[];
  /** What went wrong, where something did. */
  text: string;
}

export interface SweepData {
  id: string;
  name: string;
  folder: string;
  status: 'running' | 'finished' | 'stopped' | 'failed';
  /** ISO 8601. */
  updatedAt: string;
  /** The options that differ. */
  vary: string[];
  /** What the runs are compared by. */
  score: string;
  runs: SweepRunData[];
  /** The index of the best run so far. */
  best: number | null;
}

/** As JSON holds it: curves are texts. */
export interface SweepPayload extends Omit<SweepData, 'runs'> {
  schemaVersion: number;
  runs: (Omit<SweepRunData, 'loss' | 'eval_loss'> & { loss: string; eval_loss: string })[];
}

const MOST_RUNS = 200;
const points: Schema = { type: 'string', maxLength: 60 * MAX_POINTS, pattern: '^[0-9.eE:+\\- ]*$' };
const number: Schema = { type: 'number', minimum: -1e15, maximum: 1e15 };

export const SWEEP_SCHEMA: Schema = payloadSchema(SWEEP_MIME, SWEEP_SCHEMA_VERSION, {
  id: text(100),
  name: text(500),
  folder: text(4096),
  status: { enum: ['running', 'finished', 'stopped', 'failed'] },
  updatedAt: text(40),
  vary: list(text(100), 20),
  score: text(200),
  runs: list(
    record({
      id: text(100),
      name: text(1000),
      folder: text(4096),
      values: list(text(300), 20),
      status: { enum: SWEEP_RUN_STATUSES },
      ...{ step: count, totalSteps: count, parameters: count, seconds: count, peakBytes: count },
      score: orNull(number),
      loss: points,
      eval_loss: points,
      text: text(2000),
    }),
    MOST_RUNS,
  ),
  best: orNull(count),
});

const short = (value: string, most: number) =>
  value.length > most ? `${value.slice(0, most - 1).replace(/[\ud800-\udbff]$/, '')}…` : value;

/** The sweep as JSON: the more runs, the fewer points of each. */
export function sweepPayload(sweep: SweepData): SweepPayload {
  const few = Math.max(40, Math.floor((2 * MAX_POINTS) / Math.max(2, sweep.runs.length)));
  const encoded = (curve: Point[]) => encodePoints(thin(curve, few));
  const { id, folder, status, updatedAt } = sweep;
  // Of very many runs the best may not be among those that travel.
  const best = sweep.best !== null && sweep.best < MOST_RUNS ? sweep.best : null;
  return {
    schemaVersion: SWEEP_SCHEMA_VERSION,
    ...{ id, folder, status, updatedAt, best },
    name: short(sweep.name, 500),
    score: short(sweep.score, 200),
    vary: sweep.vary.slice(0, 20).map((name) => short(name, 100)),
    runs: sweep.runs.slice(0, MOST_RUNS).map((run) => ({
      ...{ id: run.id, folder: run.folder, status: run.status, step: run.step, totalSteps: run.totalSteps },
      ...{ parameters: run.parameters, seconds: run.seconds, peakBytes: run.peakBytes },
      score: run.score !== null && Number.isFinite(run.score) ? run.score : null,
      name: short(run.name, 1000),
      values: run.values.slice(0, 20).map((value) => short(value, 300)),
      text: short(run.text, 2000),
      loss: encoded(run.loss),
      eval_loss: encoded(run.eval_loss),
    })),
  };
}

/** Checks a payload against the schema; returns the sweep, or a sentence that says what is wrong. */
export function parseSweep(data: unknown): SweepData | string {
  const wrong = payloadFault('sweep', SWEEP_SCHEMA_VERSION, SWEEP_SCHEMA, data);
  if (wrong) return wrong;
  const { schemaVersion: _, ...payload } = data as SweepPayload;
  const runs: SweepRunData[] = [];
  for (const run of payload.runs) {
    const [loss, eval_loss] = [decodePoints(run.loss), decodePoints(run.eval_loss)];
    if (!loss || !eval_loss) return 'This sweep is damaged: a curve holds something else than points.';
    if (run.values.length !== payload.vary.length) return 'This sweep is damaged: a run has other options than the sweep.';
    runs.push({ ...run, loss, eval_loss });
  }
  if (payload.best !== null && !runs[payload.best]) return 'This sweep is damaged: its best run is none of its runs.';
  return { ...payload, runs };
}

const clock = (given: number) => {
  const seconds = Math.round(given);
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${String(seconds % 60).padStart(2, '0')}` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

const last = (curve: Point[]): string => (curve.length ? figure(curve[curve.length - 1][1]) : '');

/** A run's figures as text: status, step, trained parameters, time, memory, losses, score. */
export function sweepFigures(run: SweepRunData): string[] {
  const { status, step, totalSteps, parameters, seconds, peakBytes, loss, eval_loss, score } = run;
  return [
    status,
    totalSteps ? `${step}/${totalSteps}` : '',
    parameters.toLocaleString('en-US'),
    seconds ? clock(seconds) : '',
    peakBytes ? `${Math.round(peakBytes / 2 ** 20).toLocaleString('en-US')} MiB` : '',
    last(loss),
    last(eval_loss),
    score === null ? '' : figure(score),
  ];
}

/** What a sweep comes to so far, in a sentence. */
export function sweepSentence({ runs, best, score, status }: SweepData): string {
  const over = runs.filter((run) => ['finished', 'stopped', 'failed'].includes(run.status)).length;
  const state = status === 'running' ? `${over} of ${runs.length} runs are over` : `${status}: ${over} of ${runs.length} runs`;
  const named = best === null ? '' : `; best: ${runs[best].name} (${score} ${figure(runs[best].score ?? 0)})`;
  return `${state}${named}`;
}

/** A row for each run, as label and value. */
export const sweepSummary = (sweep: SweepData): [string, string][] => [
  ['sweep', sweepSentence(sweep)],
  ...sweep.runs.map((run, i): [string, string] => {
    const [status, step, trained, time, memory, loss] = sweepFigures(run);
    const said = [
      ...[status, step && `step ${step}`, `${trained} trained`, time, memory, loss && `loss ${loss}`],
      run.score !== null && `${sweep.score} ${figure(run.score)}`,
      i === sweep.best && 'best',
      run.text,
    ];
    return [run.name, said.filter(Boolean).join(', ')];
  }),
];

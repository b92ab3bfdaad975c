import { count, list, payloadFault, payloadSchema, record, type Schema, text } from './schema';
import { decodePoints, encodePoints, MAX_POINTS, type Point, thin } from './series';

/** A training run as it travels from the library to its views. JSON Schema: RUN_SCHEMA. */
export const RUN_MIME = 'application/vnd.tunebook.run.v1+json';
export const RUN_SCHEMA_VERSION = 1;

/** The series of every run. A run may have others by any name (rewards/accuracies, eval_rewards/accuracies): see `seriesOf`. */
export const SERIES = ['loss', 'eval_loss', 'learning_rate', 'grad_norm', 'tokens_per_second', 'resident_bytes'] as const;
export type SeriesName = (typeof SERIES)[number];
export type Series<T> = Record<SeriesName, T> & Record<string, T>;
export const STATUSES = ['running', 'paused', 'finished', 'stopped', 'failed'] as const;
export type Status = (typeof STATUSES)[number];

/** Something that happened at a step. */
export interface RunEvent {
  step: number;
  kind: string;
  /** A plain note for people. */
  text: string;
}

/** What the model wrote after a prompt at a step. */
export interface Sample {
  step: number;
  prompt: string;
  text: string;
  /** What the base model writes, where it was asked too. */
  base?: string;
  /** It was a question of the reader's own, and none of those that are asked over and over. */
  asked?: boolean;
}

/** A run as views and pictures read it. */
export interface RunData {
  id: string;
  name: string;
  /** Where it saves: relative to the notebook's folder where it lies in it. */
  folder: string;
  status: Status;
  /** What is being worked on beside steps: 'evaluating on 40 rows'. */
  doing?: string;
  /** ISO 8601, as updatedAt. */
  startedAt: string;
  updatedAt: string;
  step: number;
  totalSteps: number;
  config: Record<string, string | number | boolean | null>;
  /** What the schedule's curve is multiplied with, which may be set while training; older files lack it. */
  peakRate?: number;
  series: Series<Point[]>;
  events: RunEvent[];
  /** Paths, latest last. */
  checkpoints: string[];
  samples: Sample[];
  memory: { residentBytes: number; peakBytes: number; machineBytes: number };
}

/** The same as JSON holds it: each series one text, "step:value step:value", since notebook files give every array element a line. */
export type RunPayload = Omit<RunData, 'series'> & { schemaVersion: number; series: Encoded };

/** What changed since a view was told last: only new points, events and samples. */
export type RunDelta = Pick<
  RunData,
  'status' | 'doing' | 'updatedAt' | 'step' | 'peakRate' | 'checkpoints' | 'memory' | 'events' | 'samples'
> & {
  series: Encoded;
};
type Encoded = Series<string>;

const MOST = { events: 500, checkpoints: 200, samples: 100, series: 64 };

const ENCODED: Schema = { type: 'string', maxLength: 60 * MAX_POINTS, pattern: '^[0-9.eE:+\\- ]*$' };

const CHANGING = {
  status: { enum: STATUSES },
  doing: text(300),
  updatedAt: text(40),
  step: count,
  peakRate: count,
  series: {
    ...record(Object.fromEntries(SERIES.map((name) => [name, ENCODED]))),
    additionalProperties: ENCODED,
    maxProperties: MOST.series,
    propertyNames: { maxLength: 80, pattern: '^[A-Za-z][\\w./@%:() -]*$' },
  },
  events: list(record({ step: count, kind: text(40), text: text(2000) }), MOST.events),
  checkpoints: list(text(4096), MOST.checkpoints),
  samples: list(
    record({ step: count, prompt: text(4000), text: text(8000), base: text(8000), asked: { type: 'boolean' } }, ['base', 'asked']),
    MOST.samples,
  ),
  memory: record({ residentBytes: count, peakBytes: count, machineBytes: count }),
} satisfies Record<string, Schema>;
const OPTIONAL = ['doing', 'peakRate'];

export const RUN_SCHEMA: Schema = payloadSchema(
  RUN_MIME,
  RUN_SCHEMA_VERSION,
  {
    id: text(100),
    name: text(500),
    folder: text(4096),
    startedAt: text(40),
    totalSteps: count,
    config: {
      type: 'object',
      maxProperties: 200,
      additionalProperties: { type: ['string', 'number', 'boolean', 'null'], maxLength: 1000 },
    },
    ...CHANGING,
  },
  OPTIONAL,
);
const DELTA_SCHEMA = record(CHANGING, OPTIONAL);

const own = <T>(record: Record<string, T>, name: string): T | undefined => (Object.hasOwn(record, name) ? record[name] : undefined);

const mapSeries = <A, B>(series: Series<A>, f: (points: A, name: string) => B): Series<B> =>
  Object.fromEntries(Object.entries(series).map(([name, points]) => [name, f(points, name)])) as Series<B>;

/** What a run measured besides the series of every run: pairs of a name and its evaluations' (eval_<name>), where one has points. */
export function otherSeries({ series }: Pick<RunData, 'series'>): { name: string; points: Point[]; evaluated: Point[] }[] {
  const names = Object.keys(series).filter((name) => !(SERIES as readonly string[]).includes(name) && series[name].length);
  const plain = names.map((name) => (name.startsWith('eval_') ? name.slice(5) : name));
  return [...new Set(plain)].map((name) => ({ name, points: own(series, name) ?? [], evaluated: own(series, `eval_${name}`) ?? [] }));
}

/** The names of all series of a run, those of every run first. */
export const seriesOf = ({ series }: Pick<RunData, 'series'>): string[] => [...new Set([...SERIES, ...Object.keys(series)])];

/** Series as a payload holds them: not more than it may, under names that it may have. */
const encodeSeries = (series: Series<Point[]>, told: Record<string, number> = {}): Encoded =>
  Object.fromEntries(
    seriesOf({ series })
      .slice(0, MOST.series)
      .map((name) => [
        name
          .replace(/[^\w./@%:() -]/g, '_')
          .replace(/^(?![A-Za-z])/, 'x')
          .slice(0, 80),
        encodePoints(thin(series[name].slice(own(told, name) ?? 0))),
      ]),
  ) as Encoded;

function decodeSeries(series: Encoded): Series<Point[]> | string {
  const decoded = mapSeries(series, (points) => decodePoints(points));
  const wrong = Object.keys(decoded).find((name) => !decoded[name]);
  if (wrong) return `This training run is damaged: series.${wrong} holds something else than points.`;
  return decoded as Series<Point[]>;
}

/** Checks a payload against the schema; returns the run, or a sentence that says what is wrong. */
export function parseRun(data: unknown): RunData | string {
  const wrong = payloadFault('training run', RUN_SCHEMA_VERSION, RUN_SCHEMA, data);
  if (wrong) return wrong;
  const { schemaVersion: _, series, ...rest } = data as RunPayload;
  const decoded = decodeSeries(series);
  return typeof decoded === 'string' ? decoded : { ...rest, series: decoded };
}

/** Not longer than `most`; half of an emoji, which no file can hold, is left out. */
const short = (value: string, most: number) =>
  value.length > most ? `${value.slice(0, most - 1).replace(/[\ud800-\udbff]$/, '')}…` : value;

function changing(run: RunData) {
  return {
    status: run.status,
    updatedAt: run.updatedAt,
    step: run.step,
    ...(run.doing && { doing: short(run.doing, 300) }),
    ...(run.peakRate !== undefined && { peakRate: run.peakRate }),
    events: run.events.slice(-MOST.events).map((e) => ({ ...e, text: short(e.text, 2000) })),
    checkpoints: run.checkpoints.slice(-MOST.checkpoints),
    samples: run.samples.slice(-MOST.samples).map((s) => ({
      ...s,
      ...{ prompt: short(s.prompt, 4000), text: short(s.text, 8000) },
      ...(s.base !== undefined && { base: short(s.base, 8000) }),
    })),
    memory: run.memory,
  };
}

/** The run as JSON: at most MAX_POINTS a series, thinned so that spikes survive. */
export function runPayload(run: RunData): RunPayload {
  const config = Object.entries(run.config as Record<string, unknown>).map(([name, value]) => {
    const plain = value === null || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value));
    return [name, plain ? value : short(typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value)), 1000)];
  });
  const { id, name, folder, startedAt, totalSteps } = run;
  return {
    schemaVersion: RUN_SCHEMA_VERSION,
    id,
    name: short(name, 500),
    folder,
    startedAt,
    totalSteps,
    config: Object.fromEntries(config),
    ...changing(run),
    series: encodeSeries(run.series),
  };
}

/** How much of a run one of its views has been told. */
export interface Told {
  points: Record<string, number>;
  events: number;
  samples: number;
}

export const toldAll = (run: Pick<RunData, 'series' | 'events' | 'samples'>): Told => ({
  points: mapSeries(run.series, (points) => points.length),
  events: run.events.length,
  samples: run.samples.length,
});

/** What a view that was told so much does not know yet. */
export function runDelta(run: RunData, told: Told): RunDelta {
  const news = { ...run, events: run.events.slice(told.events), samples: run.samples.slice(told.samples) };
  return { ...changing(news), series: encodeSeries(run.series, told.points) };
}

/** The run with what is new; or a sentence that says what is wrong with the delta. */
export function withDelta(run: RunData, data: unknown): RunData | string {
  const wrong = payloadFault('training run', RUN_SCHEMA_VERSION, DELTA_SCHEMA, { schemaVersion: RUN_SCHEMA_VERSION, ...(data as object) });
  if (wrong) return wrong;
  const delta = data as RunDelta;
  const decoded = decodeSeries(delta.series);
  if (typeof decoded === 'string') return decoded;
  const joined = mapSeries({ ...run.series, ...decoded }, (_, name) => {
    const points = [...(own(run.series, name) ?? []), ...(own(decoded, name) ?? [])];
    // Thinned only when there is twice too much, so that live points do not thin the same stretch over and over.
    return points.length > 2 * MAX_POINTS ? thin(points) : points;
  });
  const series = Object.fromEntries(Object.entries(joined).slice(0, MOST.series)) as RunData['series'];
  const events = [...run.events, ...delta.events].slice(-MOST.events);
  const samples = [...run.samples, ...delta.samples].slice(-MOST.samples);
  const { status, doing, updatedAt, step, checkpoints, memory, peakRate = run.peakRate } = delta;
  const { doing: _, ...before } = run;
  return {
    ...before,
    ...(doing && { doing }),
    ...(peakRate !== undefined && { peakRate }),
    status,
    updatedAt,
    step,
    checkpoints,
    memory,
    series,
    events,
    samples,
  };
}

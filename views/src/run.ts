import { count, list, payloadFault, payloadSchema, record, type Schema, text } from './schema';
import { decodePoints, encodePoints, MAX_POINTS, type Point, thin } from './series';

/** A training run as it travels from the library to its views. JSON Schema: RUN_SCHEMA. */
export const RUN_MIME = 'application/vnd.tunebook.run.v1+json';
export const RUN_SCHEMA_VERSION = 1;

export const SERIES = ['loss', 'eval_loss', 'learning_rate', 'grad_norm', 'tokens_per_second', 'resident_bytes'] as const;
export type SeriesName = (typeof SERIES)[number];
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
}

/** A run as views and pictures read it. */
export interface RunData {
  id: string;
  name: string;
  /** Where it saves: relative to the notebook's folder where it lies in it. */
  folder: string;
  status: Status;
  /** ISO 8601, as updatedAt. */
  startedAt: string;
  updatedAt: string;
  step: number;
  totalSteps: number;
  config: Record<string, string | number | boolean | null>;
  series: Record<SeriesName, Point[]>;
  events: RunEvent[];
  /** Paths, latest last. */
  checkpoints: string[];
  samples: Sample[];
  memory: { residentBytes: number; peakBytes: number; machineBytes: number };
}

/** The same as JSON holds it: each series one text, "step:value step:value", since notebook files give every array element a line. */
export type RunPayload = Omit<RunData, 'series'> & { schemaVersion: number; series: Record<SeriesName, string> };

/** What changed since a view was told last: only new points, events and samples. */
export type RunDelta = Pick<RunData, 'status' | 'updatedAt' | 'step' | 'checkpoints' | 'memory' | 'events' | 'samples'> & {
  series: Record<SeriesName, string>;
};

const MOST = { events: 500, checkpoints: 200, samples: 100 };

const CHANGING = {
  status: { enum: STATUSES },
  updatedAt: text(40),
  step: count,
  series: record(
    Object.fromEntries(SERIES.map((name) => [name, { type: 'string', maxLength: 60 * MAX_POINTS, pattern: '^[0-9.eE:+\\- ]*$' }])),
  ),
  events: list(record({ step: count, kind: text(40), text: text(2000) }), MOST.events),
  checkpoints: list(text(4096), MOST.checkpoints),
  samples: list(record({ step: count, prompt: text(4000), text: text(8000) }), MOST.samples),
  memory: record({ residentBytes: count, peakBytes: count, machineBytes: count }),
} satisfies Record<string, Schema>;

export const RUN_SCHEMA: Schema = payloadSchema(RUN_MIME, RUN_SCHEMA_VERSION, {
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
});
const DELTA_SCHEMA = record(CHANGING);

type Encoded = Record<SeriesName, string>;
const mapSeries = <A, B>(series: Record<SeriesName, A>, f: (points: A) => B) =>
  Object.fromEntries(SERIES.map((name) => [name, f(series[name])])) as Record<SeriesName, B>;

function decodeSeries(series: Encoded): Record<SeriesName, Point[]> | string {
  const decoded = {} as Record<SeriesName, Point[]>;
  for (const name of SERIES) {
    const points = decodePoints(series[name]);
    if (!points) return `This training run is damaged: series.${name} holds something else than points.`;
    decoded[name] = points;
  }
  return decoded;
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
    events: run.events.slice(-MOST.events).map((e) => ({ ...e, text: short(e.text, 2000) })),
    checkpoints: run.checkpoints.slice(-MOST.checkpoints),
    samples: run.samples.slice(-MOST.samples).map((s) => ({ ...s, prompt: short(s.prompt, 4000), text: short(s.text, 8000) })),
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
    series: mapSeries(run.series, (points) => encodePoints(thin(points))),
  };
}

/** How much of a run one of its views has been told. */
export interface Told {
  points: Record<SeriesName, number>;
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
  const series = Object.fromEntries(SERIES.map((name) => [name, encodePoints(thin(run.series[name].slice(told.points[name])))]));
  return { ...changing(news), series: series as Encoded };
}

/** The run with what is new; or a sentence that says what is wrong with the delta. */
export function withDelta(run: RunData, data: unknown): RunData | string {
  const wrong = payloadFault('training run', RUN_SCHEMA_VERSION, DELTA_SCHEMA, { schemaVersion: RUN_SCHEMA_VERSION, ...(data as object) });
  if (wrong) return wrong;
  const delta = data as RunDelta;
  const decoded = decodeSeries(delta.series);
  if (typeof decoded === 'string') return decoded;
  const series = {} as RunData['series'];
  for (const name of SERIES) {
    const joined = [...run.series[name], ...decoded[name]];
    // Thinned only when there is twice too much, so that live points do not thin the same stretch over and over.
    series[name] = joined.length > 2 * MAX_POINTS ? thin(joined) : joined;
  }
  const events = [...run.events, ...delta.events].slice(-MOST.events);
  const samples = [...run.samples, ...delta.samples].slice(-MOST.samples);
  const { status, updatedAt, step, checkpoints, memory } = delta;
  return { ...run, status, updatedAt, step, checkpoints, memory, series, events, samples };
}

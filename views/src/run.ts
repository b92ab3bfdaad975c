/** A training run as it travels from the library to its views. JSON Schema: RUN_SCHEMA. */
export const RUN_MIME = 'application/vnd.tunebook.run.v1+json';
export const RUN_SCHEMA_VERSION = 1;

/** Points of a series that a payload holds at most. */
export const MAX_POINTS = 1000;

export type Point = [step: number, value: number];
export const SERIES = ['loss', 'eval_loss', 'learning_rate', 'grad_norm', 'tokens_per_second', 'resident_bytes'] as const;
export type SeriesName = (typeof SERIES)[number];

export interface RunEvent {
  step: number;
  kind: string;
  text: string;
}

export interface RunPayload {
  schemaVersion: number;
  id: string;
  name: string;
  status: 'running' | 'finished' | 'stopped' | 'failed';
  startedAt: string;
  updatedAt: string;
  step: number;
  totalSteps: number;
  config: Record<string, unknown>;
  series: Record<SeriesName, Point[]>;
  events: RunEvent[];
  checkpoints: string[];
  memory: { residentBytes: number; peakBytes: number; machineBytes: number };
}

const point = { type: 'array', minItems: 2, maxItems: 2, items: { type: 'number' } };
const text = (maxLength: number) => ({ type: 'string', maxLength });
const count = { type: 'number', minimum: 0 };

export const RUN_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: RUN_MIME,
  type: 'object',
  required: [
    'schemaVersion',
    'id',
    'name',
    'status',
    'startedAt',
    'updatedAt',
    'step',
    'totalSteps',
    'config',
    'series',
    'events',
    'checkpoints',
    'memory',
  ],
  properties: {
    schemaVersion: { const: RUN_SCHEMA_VERSION },
    id: text(100),
    name: text(500),
    status: { enum: ['running', 'finished', 'stopped', 'failed'] },
    startedAt: text(40),
    updatedAt: text(40),
    step: count,
    totalSteps: count,
    config: { type: 'object' },
    series: {
      type: 'object',
      required: [...SERIES],
      properties: Object.fromEntries(SERIES.map((name) => [name, { type: 'array', maxItems: MAX_POINTS + 2, items: point }])),
    },
    events: {
      type: 'array',
      maxItems: 1000,
      items: { type: 'object', required: ['step', 'kind', 'text'], properties: { step: count, kind: text(40), text: text(2000) } },
    },
    checkpoints: { type: 'array', maxItems: 1000, items: text(4096) },
    memory: {
      type: 'object',
      required: ['residentBytes', 'peakBytes', 'machineBytes'],
      properties: { residentBytes: count, peakBytes: count, machineBytes: count },
    },
  },
};

const isNumber = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);
const isText = (v: unknown, most: number): v is string => typeof v === 'string' && v.length <= most;
const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** Checks a payload against the schema; returns it, or a sentence that says what is wrong. */
export function parseRun(data: unknown): RunPayload | string {
  if (!isRecord(data)) return 'This output is not a training run: it is no object.';
  const { schemaVersion: version } = data;
  if (version !== RUN_SCHEMA_VERSION)
    return isNumber(version) && version > RUN_SCHEMA_VERSION
      ? `This run was written by a newer tunebook (schema ${version}); this extension reads schema ${RUN_SCHEMA_VERSION}. Update the extension.`
      : 'This output is not a training run: its schemaVersion is missing or unknown.';
  for (const [name, most] of [
    ['id', 100],
    ['name', 500],
    ['startedAt', 40],
    ['updatedAt', 40],
  ] as const)
    if (!isText(data[name], most)) return `This run is damaged: ${name} is not a text.`;
  if (!['running', 'finished', 'stopped', 'failed'].includes(data.status as string)) return 'This run is damaged: its status is unknown.';
  for (const name of ['step', 'totalSteps'])
    if (!isNumber(data[name]) || (data[name] as number) < 0) return `This run is damaged: ${name} is not a number.`;
  if (!isRecord(data.config)) return 'This run is damaged: config is not an object.';
  const { series, events, checkpoints, memory } = data;
  if (!isRecord(series)) return 'This run is damaged: series is not an object.';
  for (const name of SERIES) {
    const points = Object.hasOwn(series, name) ? series[name] : undefined;
    if (!Array.isArray(points) || points.length > MAX_POINTS + 2) return `This run is damaged: the series ${name} is missing or too long.`;
    if (!points.every((p) => Array.isArray(p) && p.length === 2 && p.every(isNumber)))
      return `This run is damaged: the series ${name} holds something else than points.`;
  }
  if (
    !Array.isArray(events) ||
    events.length > 1000 ||
    !events.every((e) => isRecord(e) && isNumber(e.step) && isText(e.kind, 40) && isText(e.text, 2000))
  )
    return 'This run is damaged: its events cannot be read.';
  if (!Array.isArray(checkpoints) || checkpoints.length > 1000 || !checkpoints.every((c) => isText(c, 4096)))
    return 'This run is damaged: its checkpoints cannot be read.';
  if (!isRecord(memory) || !['residentBytes', 'peakBytes', 'machineBytes'].every((name) => isNumber(memory[name])))
    return 'This run is damaged: its memory figures cannot be read.';
  return data as unknown as RunPayload;
}

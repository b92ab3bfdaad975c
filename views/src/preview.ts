import { count, list, payloadFault, payloadSchema, record, type Schema, text } from './schema';

/** Rows as a model sees them before they are trained on, as they travel from the library to their view. JSON Schema: PREVIEW_SCHEMA. */
export const PREVIEW_MIME = 'application/vnd.tunebook.preview.v1+json';
export const PREVIEW_SCHEMA_VERSION = 1;

export interface PreviewRow {
  title: string;
  tokens: number;
  learned: number;
  /** Its text in runs that are learned or not. */
  runs: { text: string; learned: boolean }[];
}

export interface PreviewData {
  name: string;
  createdAt: string;
  findings: { kind: 'good' | 'note' | 'bad'; text: string }[];
  /** Labels and values. */
  figures: [string, string][];
  rows: PreviewRow[];
  /** How many rows have from so many tokens to so many, and how many answers. */
  lengths: { from: number; to: number; rows: number; answers: number }[];
}

export type PreviewPayload = PreviewData & { schemaVersion: number };

const flag: Schema = { type: 'boolean' };

export const PREVIEW_SCHEMA: Schema = payloadSchema(PREVIEW_MIME, PREVIEW_SCHEMA_VERSION, {
  name: text(500),
  createdAt: text(40),
  findings: list(record({ kind: { enum: ['good', 'note', 'bad'] }, text: text(2000) }), 50),
  figures: list(list(text(500), 2), 50),
  rows: list(
    record({ title: text(500), tokens: count, learned: count, runs: list(record({ text: text(200_000), learned: flag }), 2000) }),
    20,
  ),
  lengths: list(record({ from: count, to: count, rows: count, answers: count }), 100),
});

export const previewPayload = (data: PreviewData): PreviewPayload => ({ ...data, schemaVersion: PREVIEW_SCHEMA_VERSION });

/** Checks a payload against the schema; returns what it says, or a sentence that says what is wrong. */
export function parsePreview(data: unknown): PreviewData | string {
  const wrong = payloadFault('preview of rows', PREVIEW_SCHEMA_VERSION, PREVIEW_SCHEMA, data);
  if (wrong) return wrong;
  const { schemaVersion: _, ...preview } = data as PreviewPayload;
  if (preview.figures.some((pair) => pair.length !== 2)) return 'This preview of rows is damaged: a figure has no value.';
  return preview;
}

/** What stands before a finding of each kind, for readers without colours. */
export const SIGNS: Record<PreviewData['findings'][number]['kind'], string> = { good: '✓', note: '·', bad: '!' };

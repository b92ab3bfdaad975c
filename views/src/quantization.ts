import { count, list, payloadFault, payloadSchema, record, type Schema, text } from './schema';
import { figure } from './series';

/** What packing a model's weights into few bits does to them, as it travels from the library to its view. JSON Schema: QUANTIZATION_SCHEMA. */
export const QUANTIZATION_MIME = 'application/vnd.tunebook.quantization.v1+json';
export const QUANTIZATION_SCHEMA_VERSION = 1;

/** Bars of a histogram over [-1, 1]. */
export const BARS = 64;

/** One matrix. */
export interface QuantizedModule {
  /** The module's path, model.layers.3.self_attn.q_proj. */
  name: string;
  outFeatures: number;
  inFeatures: number;
  /** Frobenius norm of what packing changes, against that of the weight. */
  error: number;
  /** The largest change of a value. */
  largest: number;
  /** How many values (of a sample) lie in each of 64 equal parts of [-1, 1], where 1 is the largest magnitude of a value's block. */
  histogram: number[];
}

export interface QuantizationData {
  name: string;
  /** What the weights are packed as: nf4, nf4 with double quantisation, int8, ... */
  format: string;
  createdAt: string;
  notes: string[];
  /** Bytes of the packed matrices, and of the same in 16 bits. */
  bytes: number;
  plainBytes: number;
  /** The values that codes stand for, ascending, in [-1, 1]; empty where they are equally far apart. */
  levels: number[];
  modules: QuantizedModule[];
}

/** As JSON holds it: lists of numbers are texts. */
export interface QuantizationPayload extends Omit<QuantizationData, 'modules' | 'levels'> {
  schemaVersion: number;
  levels: string;
  modules: (Omit<QuantizedModule, 'histogram'> & { histogram: string })[];
}

const numbers: Schema = { type: 'string', maxLength: 1400, pattern: '^[0-9.eE+\\- ]*$' };

export const QUANTIZATION_SCHEMA: Schema = payloadSchema(QUANTIZATION_MIME, QUANTIZATION_SCHEMA_VERSION, {
  name: text(4096),
  format: text(100),
  createdAt: text(40),
  notes: list(text(2000), 20),
  bytes: count,
  plainBytes: count,
  levels: numbers,
  modules: list(record({ name: text(500), outFeatures: count, inFeatures: count, error: count, largest: count, histogram: numbers }), 4000),
});

const encode = (values: readonly number[]) => values.map((value) => String(Number(value.toPrecision(7)))).join(' ');

function decode(encoded: string, least: number): number[] | undefined {
  const values = encoded ? encoded.split(' ').map((part) => (part ? Number(part) : Number.NaN)) : [];
  return values.every((v) => v >= least && v <= 1e15) ? values : undefined;
}

export const quantizationPayload = (data: QuantizationData): QuantizationPayload => ({
  ...data,
  schemaVersion: QUANTIZATION_SCHEMA_VERSION,
  levels: encode(data.levels),
  modules: data.modules.map((module) => ({ ...module, histogram: encode(module.histogram) })),
});

/** Checks a payload against the schema; returns what it says, or a sentence that says what is wrong. */
export function parseQuantization(data: unknown): QuantizationData | string {
  const wrong = payloadFault('quantization report', QUANTIZATION_SCHEMA_VERSION, QUANTIZATION_SCHEMA, data);
  if (wrong) return wrong;
  const { schemaVersion: _, ...payload } = data as QuantizationPayload;
  const levels = decode(payload.levels, -1);
  const modules = payload.modules.map((module) => ({ ...module, histogram: decode(module.histogram, 0) }));
  if (!levels || levels.length > 16 || levels.some((level) => level > 1) || modules.some(({ histogram }) => histogram?.length !== BARS))
    return 'This quantization report is damaged: its lists of numbers do not fit.';
  return { ...payload, levels, modules: modules as QuantizedModule[] };
}

const megabytes = (bytes: number) => `${figure(bytes / 1e6)} MB`;
const percent = (share: number) => `${figure(100 * share)} %`;
const valuesOf = ({ outFeatures, inFeatures }: QuantizedModule) => outFeatures * inFeatures;

/** The module that packing changes most. */
export const worstOf = ({ modules }: QuantizationData): QuantizedModule | undefined =>
  modules.reduce<QuantizedModule | undefined>((worst, m) => (!worst || m.error > worst.error ? m : worst), undefined);

/** What it comes to, as label and value. */
export function quantizationSummary(data: QuantizationData): [string, string][] {
  const { format, bytes, plainBytes, modules } = data;
  const values = modules.reduce((sum, m) => sum + valuesOf(m), 0);
  const worst = worstOf(data);
  const mean = values ? modules.reduce((sum, m) => sum + m.error * valuesOf(m), 0) / values : 0;
  return [
    ['packed as', format],
    ['matrices', String(modules.length)],
    ['bits a value', figure(values ? (8 * bytes) / values : 0)],
    ['size', `${megabytes(bytes)}, in 16 bits ${megabytes(plainBytes)}`],
    ['mean error', `${percent(mean)} of the weights' norm`],
    ...(worst ? [['largest error', `${percent(worst.error)}: ${worst.name}`] as [string, string]] : []),
  ];
}

/** A row for each module, as text. */
export const quantizationRows = ({ modules }: QuantizationData): string[][] =>
  modules.map(({ name, outFeatures, inFeatures, error, largest }) => [
    name,
    `${outFeatures} x ${inFeatures}`,
    percent(error),
    figure(largest),
  ]);

import type { LayersOverlap } from './layers';
import { count, list, orNull, payloadFault, payloadSchema, record, type Schema, text } from './schema';

/** An adapter as it travels from the library to its inspector. JSON Schema: ADAPTER_SCHEMA. */
export const ADAPTER_MIME = 'application/vnd.tunebook.adapter.v1+json';
export const ADAPTER_SCHEMA_VERSION = 1;

/** What an adapter adds beside one module of the base model, or one of the tensors that it adds where that is no dense update. */
export interface AdapterModule {
  /** The module's path, model.layers.3.self_attn.q_proj, with the tensor's name behind it: model.layers.3.self_attn.k_proj.ia3_l. */
  name: string;
  outFeatures: number;
  inFeatures: number;
  /** 0 where the method has no dense update: then `delta` is the Frobenius norm of its tensors. */
  rank: number;
  /** Trained values. */
  trained: number;
  /** Frobenius norm of the update dW. */
  delta: number;
  /** Of the base weight W; null where only the adapter's file is at hand. */
  weight: number | null;
  /** Singular values of dW, descending; empty where there is no dense update. */
  singular: number[];
}

/** How the modules stood at one checkpoint: a value for each module, in their order. */
export interface AdapterMoment {
  step: number;
  deltas: number[];
  effectiveRanks: number[];
}

export interface AdapterOverlap {
  /** Name of the other adapter. */
  other: string;
  /** For each module, 0 to 1; null where the other has no update there. */
  reads: (number | null)[];
  writes: (number | null)[];
}

/** What merging the adapter into the weights changes. */
export interface MergeCheck {
  /** What the merged weights are kept as. */
  format: string;
  tokens: number;
  /** Largest change of a logit, and the standard deviation of logits to compare it with. */
  drift: number;
  spread: number;
  /** Share of tokens whose most likely next token stays the same. */
  agreement: number;
}

export interface AdapterData {
  name: string;
  /** PEFT's name of the method. */
  method: string;
  base: string;
  createdAt: string;
  /** All parameters of the base model; null where it is not at hand. */
  total: number | null;
  /** Said above everything: what is assumed or missing. */
  notes: string[];
  modules: AdapterModule[];
  history: AdapterMoment[];
  overlap: AdapterOverlap | null;
  merge: MergeCheck | null;
  /** What updates share between layers, by kinds of modules; older reports lack it. */
  between?: LayersOverlap[];
}

type Wire<T, K extends keyof T> = Omit<T, K> & Record<K, string>;
/** As JSON holds it: lists of numbers are texts, since notebook files give every array element a line. */
export interface AdapterPayload extends Omit<AdapterData, 'modules' | 'history' | 'overlap' | 'between'> {
  schemaVersion: number;
  modules: Wire<AdapterModule, 'singular'>[];
  history: Wire<AdapterMoment, 'deltas' | 'effectiveRanks'>[];
  overlap: Wire<AdapterOverlap, 'reads' | 'writes'> | null;
  between?: Wire<LayersOverlap, 'layers' | 'reads' | 'writes'>[];
}

const MODULES = 4000;
const LAYERS = 64;
const numbers: Schema = { type: 'string', maxLength: 14 * MODULES, pattern: '^[0-9.eE+\\-x ]*$' };
const share: Schema = { type: 'number', minimum: 0, maximum: 1 };

const FIELDS: Record<string, Schema> = {
  name: text(4096),
  method: text(100),
  base: text(4096),
  createdAt: text(40),
  total: orNull(count),
  notes: list(text(2000), 20),
  modules: list(
    record({
      name: text(500),
      outFeatures: count,
      inFeatures: count,
      rank: { type: 'integer', minimum: 0, maximum: 4096 },
      trained: count,
      delta: count,
      weight: orNull(count),
      singular: numbers,
    }),
    MODULES,
  ),
  history: list(record({ step: count, deltas: numbers, effectiveRanks: numbers }), 200),
  overlap: orNull(record({ other: text(4096), reads: numbers, writes: numbers })),
  merge: orNull(record({ format: text(100), tokens: count, drift: count, spread: count, agreement: share })),
  between: list(record({ kind: text(500), layers: numbers, reads: numbers, writes: numbers }), 64),
};

export const ADAPTER_SCHEMA: Schema = payloadSchema(ADAPTER_MIME, ADAPTER_SCHEMA_VERSION, FIELDS, ['between']);

const encode = (values: readonly (number | null)[]): string =>
  values.map((value) => (value === null ? 'x' : String(Number(value.toPrecision(6))))).join(' ');

/** `most`: values that may be there at most. Undefined where the text is no list of numbers of at least 0. */
function decode(encoded: string, most: number): (number | null)[] | undefined {
  if (!encoded) return [];
  const values = encoded.split(' ').map((part) => (part === 'x' ? null : part ? Number(part) : Number.NaN));
  return values.length <= most && values.every((v) => v === null || (v >= 0 && v <= 1e100)) ? values : undefined;
}

export const adapterPayload = ({ between, ...data }: AdapterData): AdapterPayload => ({
  ...data,
  schemaVersion: ADAPTER_SCHEMA_VERSION,
  modules: data.modules.map((module) => ({ ...module, singular: encode(module.singular) })),
  history: data.history.map(({ step, deltas, effectiveRanks }) => ({
    step,
    deltas: encode(deltas),
    effectiveRanks: encode(effectiveRanks),
  })),
  overlap: data.overlap && { other: data.overlap.other, reads: encode(data.overlap.reads), writes: encode(data.overlap.writes) },
  ...(between && {
    between: between.map(({ kind, layers, reads, writes }) => ({
      ...{ kind, layers: encode(layers), reads: encode(reads), writes: encode(writes) },
    })),
  }),
});

/** Checks a payload against the schema; returns the adapter, or a sentence that says what is wrong. */
export function parseAdapter(data: unknown): AdapterData | string {
  const wrong = payloadFault('adapter report', ADAPTER_SCHEMA_VERSION, ADAPTER_SCHEMA, data);
  if (wrong) return wrong;
  const { schemaVersion: _, ...payload } = data as AdapterPayload;
  let damaged = false;
  const values = (encoded: string, length: number, exactly: boolean) => {
    const found = decode(encoded, length);
    if (!found || (exactly && found.length !== length)) damaged = true;
    return found ?? [];
  };
  const whole = (encoded: string, length: number, exactly: boolean) => values(encoded, length, exactly).map((v) => v ?? 0);
  const n = payload.modules.length;
  const shares = (encoded: string, length: number) => {
    const found = whole(encoded, length, true);
    if (found.some((v) => v > 1)) damaged = true;
    return found;
  };
  const between = payload.between?.map((one) => {
    const layers = whole(one.layers, LAYERS, false);
    const pairs = (layers.length * (layers.length - 1)) / 2;
    return { kind: one.kind, layers, reads: shares(one.reads, pairs), writes: shares(one.writes, pairs) };
  });
  const result: AdapterData = {
    ...(payload as Omit<AdapterPayload, 'between'>),
    ...(between && { between }),
    modules: payload.modules.map((m) => ({ ...m, singular: whole(m.singular, m.rank, true) })),
    history: payload.history.map((h) => ({
      step: h.step,
      deltas: whole(h.deltas, n, true),
      effectiveRanks: whole(h.effectiveRanks, n, true),
    })),
    overlap: payload.overlap && {
      other: payload.overlap.other,
      reads: values(payload.overlap.reads, n, true),
      writes: values(payload.overlap.writes, n, true),
    },
  };
  return damaged ? 'This adapter report is damaged: its lists of numbers do not fit its modules.' : result;
}

/** Energy is the sum of squared singular values. */
export const cumulativeEnergy = (singular: readonly number[]): number[] => {
  const total = singular.reduce((sum, s) => sum + s * s, 0);
  let sum = 0;
  return singular.map((s) => {
    sum += s * s;
    return total > 0 ? sum / total : 0;
  });
};

/** How many directions hold 99 % of the update's energy: "uses k of r". */
export const usedRank = (singular: readonly number[]): number => {
  const energy = cumulativeEnergy(singular);
  return energy.at(-1) ? energy.findIndex((share) => share >= 0.99 - 1e-12) + 1 : 0;
};

/** |dW|_F^2 / sigma_1^2 (Rudelson and Vershynin, 2007). */
export const stableRank = (singular: readonly number[]): number =>
  singular[0] > 0 ? singular.reduce((sum, s) => sum + s * s, 0) / singular[0] ** 2 : 0;

/** Exponential of the entropy of the singular values' shares (Roy and Vetterli, 2007). */
export const effectiveRank = (singular: readonly number[]): number => {
  const total = singular.reduce((sum, s) => sum + s, 0);
  if (!(total > 0)) return 0;
  return Math.exp(singular.reduce((sum, s) => sum - (s > 0 ? (s / total) * Math.log(s / total) : 0), 0));
};

/** sigma_1 over the smallest singular value that is more than rounding; 0 where there is none. */
export const condition = (singular: readonly number[]): number => {
  const [largest = 0] = singular;
  const least = singular.filter((s) => s > largest * 1e-7).at(-1);
  return least ? largest / least : 0;
};

/** The size of a module's update: against its weight where that is known. */
export const sizeOf = ({ delta, weight }: AdapterModule): number => (weight ? delta / weight : delta);

/** What PEFT's methods call their tensors, behind a module's path. */
const TENSOR =
  /\.(?:weight|bias|(?:lora|ia3|ln_tuning|vera|hada|lokr|oft|boft|hra|miss|fourierft|vblora|randlora|adaption|trainable_tokens|token_adapter|road|c3a|delora|shira|beft)_[^.]*)$/;

/** The path of the module that a tensor belongs to: that of model.layers.3.self_attn.k_proj.ia3_l ends with k_proj. */
export function moduleIn(name: string): string {
  let path = name;
  while (TENSOR.test(path)) path = path.replace(TENSOR, '');
  return path;
}

/** Block and kind of a module, for the rows and columns of a heatmap: model.layers.3.self_attn.q_proj is [3, q_proj]. */
export function placeOf(name: string): { layer: number; kind: string } {
  const found = name.match(/\.(\d+)\./);
  const path = moduleIn(name);
  return { layer: found ? Number(found[1]) : -1, kind: path.slice(path.lastIndexOf('.') + 1) };
}

/** Whether a module's update is a dense one, whose directions are known. */
export const isDense = ({ singular }: AdapterModule): boolean => singular.length > 0;

/** As a block of a transformer uses them. */
const ORDER = ['q_proj', 'k_proj', 'v_proj', 'qkv_proj', 'o_proj', 'gate_proj', 'up_proj', 'gate_up_proj', 'down_proj'];

/** The kinds of modules that there are, in the order of a block; others after them as they come. */
export function kindsOf(modules: readonly Pick<AdapterModule, 'name'>[]): string[] {
  const place = (kind: string) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length);
  return [...new Set(modules.map(({ name }) => placeOf(name).kind))].sort((a, b) => place(a) - place(b));
}

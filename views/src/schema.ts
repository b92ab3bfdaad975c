/** The part of JSON Schema (2020-12) that the payloads use. */
export interface Schema {
  readonly $schema?: string;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly maxProperties?: number;
  readonly propertyNames?: Schema;
  readonly items?: Schema;
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** What the payloads' schemas are made of. */
export const text = (maxLength: number): Schema => ({ type: 'string', maxLength });
export const count: Schema = { type: 'number', minimum: 0, maximum: 1e15 };
export const list = (items: Schema, maxItems: number): Schema => ({ type: 'array', maxItems, items });
export const record = (properties: Record<string, Schema>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  properties,
});
export const orNull = (schema: Schema): Schema => ({ ...schema, type: [schema.type ?? [], 'null'].flat() });

/** A whole payload: its version and what else it has. */
export const payloadSchema = (
  title: string,
  version: number,
  properties: Record<string, Schema>,
  optional?: readonly string[],
): Schema => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title,
  ...record({ schemaVersion: { const: version }, ...properties }, optional),
});

const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

const IS: Record<string, (v: unknown) => boolean> = {
  // What JSON cannot hold is no number: it would have been made by somebody else's code.
  number: (v) => typeof v === 'number' && Number.isFinite(v),
  integer: (v) => Number.isSafeInteger(v),
  string: (v) => typeof v === 'string',
  boolean: (v) => typeof v === 'boolean',
  null: (v) => v === null,
  array: Array.isArray,
  object: isRecord,
};

/**
 * The first thing that is wrong with the data, as words that follow its name ("series.loss is missing"), or undefined. Looks only
 * where the schema does, so its time is bounded by the schema's own limits.
 */
export function fault(schema: Schema, data: unknown, path = ''): string | undefined {
  const name = path || 'it';
  const types = schema.type === undefined ? [] : [schema.type].flat();
  if (types.length && !types.some((type) => IS[type](data))) return `${name} is not of type ${types.join(' or ')}`;
  if (schema.const !== undefined && data !== schema.const) return `${name} is not ${String(schema.const)}`;
  if (schema.enum && !schema.enum.includes(data)) return `${name} is none of ${schema.enum.join(', ')}`;
  if (typeof data === 'string') {
    if (data.length > (schema.maxLength ?? Number.POSITIVE_INFINITY)) return `${name} is too long`;
    if (schema.pattern && !new RegExp(schema.pattern).test(data)) return `${name} cannot be read`;
  }
  if (typeof data === 'number') {
    if (data < (schema.minimum ?? Number.NEGATIVE_INFINITY)) return `${name} is too small`;
    if (data > (schema.maximum ?? Number.POSITIVE_INFINITY)) return `${name} is too large`;
  }
  if (Array.isArray(data)) {
    if (data.length > (schema.maxItems ?? Number.POSITIVE_INFINITY)) return `${name} is too long`;
    for (let i = 0; schema.items && i < data.length; i++) {
      const found = fault(schema.items, data[i], `${path}[${i}]`);
      if (found) return found;
    }
  } else if (isRecord(data)) {
    const keys = Object.keys(data);
    if (keys.length > (schema.maxProperties ?? Number.POSITIVE_INFINITY)) return `${name} has too many entries`;
    for (const key of schema.required ?? []) if (!Object.hasOwn(data, key)) return `${path ? `${path}.` : ''}${key} is missing`;
    for (const key of keys) {
      const named = schema.propertyNames && fault(schema.propertyNames, key, `a name in ${name}`);
      if (named) return named;
      const inner = schema.properties && Object.hasOwn(schema.properties, key) ? schema.properties[key] : schema.additionalProperties;
      const found = inner && fault(inner, data[key], `${path ? `${path}.` : ''}${key}`.slice(0, 100));
      if (found) return found;
    }
  }
  return undefined;
}

/** What is wrong with a payload of `what` ("training run"), as one sentence; undefined: nothing. */
export function payloadFault(what: string, version: number, schema: Schema, data: unknown): string | undefined {
  if (!isRecord(data)) return `This output is not a ${what}: it is no object.`;
  const given = data.schemaVersion;
  if (given === version) {
    const found = fault(schema, data);
    return found && `This ${what} is damaged: ${found}.`;
  }
  return IS.number(given) && (given as number) > version
    ? `This ${what} was written by a newer tunebook (schema ${given}); this extension reads schema ${version}. Update the extension: pip install --upgrade tunebook.`
    : `This output is not a ${what}: its schemaVersion is missing or unknown.`;
}

/**
 * Python's values as templates see them. JavaScript has no difference between 1 and 1.0, so that floats are wrapped; `undefined` is
 * Jinja's Undefined and `null` Python's None.
 */
export type Value = undefined | null | boolean | number | string | Float | Value[] | Tuple | Dict | Namespace | Callable;
export type Dict = Map<Value, Value>;
export type Callable = (args: Value[], named: Map<string, Value>) => Value;

export class Float {
  constructor(readonly value: number) {}
}
export class Tuple extends Array<Value> {}
export class Namespace {
  constructor(readonly values: Map<string, Value>) {}
}

/** What a template cannot do: Python's TypeError, UndefinedError and the like, and its own raise_exception. */
export class TemplateError extends Error {
  override name = 'TemplateError';
}

/** JSON-like values of JavaScript; fields that are undefined are not there. */
export function fromJs(value: unknown): Value {
  if (typeof value === 'number') return Number.isInteger(value) ? value : new Float(value);
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(fromJs);
  if (value && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined);
    return new Map(entries.map(([key, v]) => [key, fromJs(v)]));
  }
  if (value === undefined || value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  throw new TemplateError(`a ${typeof value} cannot be given to a template`);
}

export const isDict = (value: Value): value is Dict => value instanceof Map;
export const isNumber = (value: Value): value is number | boolean | Float =>
  typeof value === 'number' || typeof value === 'boolean' || value instanceof Float;
export const numberOf = (value: number | boolean | Float): number => (value instanceof Float ? value.value : Number(value));
export const tuple = (...items: Value[]): Tuple => Object.assign(new Tuple(), items);

/** Characters as Python counts them: code points. */
export const characters = (text: string): string[] => (/[\ud800-\udfff]/.test(text) ? Array.from(text) : text.split(''));

export function typeName(value: Value): string {
  if (value === undefined) return 'Undefined';
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return 'int';
  if (typeof value === 'string') return 'str';
  if (typeof value === 'function') return 'function';
  if (value instanceof Float) return 'float';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof Namespace) return 'Namespace';
  return Array.isArray(value) ? 'list' : 'dict';
}

export function truth(value: Value): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isDict(value)) return value.size > 0;
  return value instanceof Float ? value.value !== 0 : !!value;
}

/** len(value) */
export function lengthOf(value: Value): number {
  if (typeof value === 'string') return characters(value).length;
  if (Array.isArray(value)) return value.length;
  if (isDict(value)) return value.size;
  if (value === undefined) return 0;
  throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
}

/** list(value) */
export function itemsOf(value: Value): Value[] {
  if (typeof value === 'string') return characters(value);
  if (Array.isArray(value)) return Array.from(value);
  if (isDict(value)) return [...value.keys()];
  if (value === undefined) return [];
  throw new TemplateError(`'${typeName(value)}' object is not iterable`);
}

export function equal(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return numberOf(a) === numberOf(b);
  if (Array.isArray(a) && Array.isArray(b))
    return a instanceof Tuple === b instanceof Tuple && a.length === b.length && a.every((item, i) => equal(item, b[i]));
  if (isDict(a) && isDict(b)) return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equal(item, b.get(key)));
  return a === b;
}

/** Below 0, 0 or above 0, as a stands to b. */
export function compare(a: Value, b: Value, operator = '<'): number {
  if (isNumber(a) && isNumber(b)) return numberOf(a) - numberOf(b);
  if (typeof a === 'string' && typeof b === 'string') {
    if (a === b) return 0;
    const [left, right] = [characters(a), characters(b)];
    const at = left.findIndex((c, i) => c !== right[i]);
    if (at < 0 || at >= right.length) return left.length - right.length;
    return (left[at].codePointAt(0) as number) - (right[at].codePointAt(0) as number);
  }
  if (Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) {
    const at = a.findIndex((item, i) => i >= b.length || !equal(item, b[i]));
    return at < 0 || at >= b.length ? a.length - b.length : compare(a[at], b[at], operator);
  }
  throw new TemplateError(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** item in container */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string') {
    if (typeof item !== 'string')
      throw new TemplateError(`'in <string>' requires string as left operand, not ${item === undefined ? 'Undefined' : typeName(item)}`);
    return container.includes(item);
  }
  if (isDict(container)) return container.has(item);
  if (container === null || !(Array.isArray(container) || container === undefined))
    throw new TemplateError(`argument of type '${typeName(container)}' is not iterable`);
  return itemsOf(container).some((one) => equal(one, item));
}

function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\\n\r\t]|[\p{C}\p{Z}]/gu, (c) => {
    if (c === ' ') return c;
    if (ESCAPES[c]) return ESCAPES[c];
    const code = c.codePointAt(0) as number;
    const hex = code.toString(16);
    return code < 0x100 ? `\\x${hex.padStart(2, '0')}` : code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
  });
  return quote + (quote === "'" ? inner.replaceAll("'", "\\'") : inner) + quote;
}

/** repr(value) */
export function repr(value: Value): string {
  if (typeof value === 'string') return quoted(value);
  if (value === undefined) return 'Undefined';
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof Tuple) return `(${value.map(repr).join(', ')}${value.length === 1 ? ',' : ''})`;
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  if (isDict(value)) return `{${[...value].map(([key, item]) => `${repr(key)}: ${repr(item)}`).join(', ')}}`;
  if (value instanceof Namespace) return `<Namespace ${repr(value.values)}>`;
  return typeof value === 'number' ? String(value) : '<function>';
}

/** str(value), which is also what `{{ value }}` writes. */
export const str = (value: Value): string => (typeof value === 'string' ? value : value === undefined ? '' : repr(value));

export interface JsonOptions {
  indent: string | null;
  separators: [string, string];
  ensureAscii: boolean;
  sortKeys: boolean;
}

/** json.dumps(value) */
export function toJson(value: Value, options: JsonOptions, depth = 0): string {
  const ascii = (text: string) =>
    options.ensureAscii ? text.replace(/[\x7f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`) : text;
  if (typeof value === 'string') return ascii(JSON.stringify(value));
  if (value === null || typeof value === 'boolean') return String(value);
  if (isNumber(value)) return repr(value).replace('inf', 'Infinity').replace('nan', 'NaN');
  const within = (parts: string[], open: string, close: string) => {
    if (!parts.length) return open + close;
    if (options.indent === null) return open + parts.join(options.separators[0]) + close;
    const line = (n: number) => `\n${(options.indent as string).repeat(n)}`;
    return open + line(depth + 1) + parts.join(options.separators[0] + line(depth + 1)) + line(depth) + close;
  };
  if (Array.isArray(value))
    return within(
      value.map((item) => toJson(item, options, depth + 1)),
      '[',
      ']',
    );
  if (isDict(value)) {
    const entries = options.sortKeys ? [...value].sort(([a], [b]) => compare(a, b)) : [...value];
    const keyText = (key: Value) => (typeof key === 'string' ? key : key === null || typeof key === 'boolean' ? String(key) : repr(key));
    const part = ([key, item]: [Value, Value]) =>
      ascii(JSON.stringify(keyText(key))) + options.separators[1] + toJson(item, options, depth + 1);
    return within(entries.map(part), '{', '}');
  }
  throw new TemplateError(`Object of type ${typeName(value)} is not JSON serializable`);
}

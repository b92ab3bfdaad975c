import { attribute } from './methods';
import { bind, capitalize, integer, percent, strip, text, titled } from './text';
import {
  type Callable,
  characters,
  compare,
  contains,
  equal,
  Float,
  isDict,
  isNumber,
  itemsOf,
  lengthOf,
  numberOf,
  str,
  TemplateError,
  type Tuple,
  toJson,
  truth,
  tuple,
  typeName,
  type Value,
} from './values';

type Filter = (value: Value, args: Value[], named: Map<string, Value>) => Value;
type Test = (value: Value, args: Value[]) => boolean;

const number = (value: Value, what: string): number => {
  if (!isNumber(value)) throw new TemplateError(`bad operand type for ${what}: '${typeName(value)}'`);
  return numberOf(value);
};
const like = (value: Value, result: number): Value => (value instanceof Float ? new Float(result) : result);
const folded = (value: Value, caseSensitive: Value): Value =>
  typeof value === 'string' && !truth(caseSensitive) ? value.toLowerCase() : value;

/** What `attribute='a.b'` or `attribute=0` takes from each item. */
function getter(path: Value): (item: Value) => Value {
  if (path === undefined || path === null) return (item) => item;
  const parts =
    typeof path === 'number'
      ? [path]
      : text(path, 'attribute')
          .split('.')
          .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  return (item) => parts.reduce<Value>((value, part) => (isDict(value) ? value.get(part) : attribute(value, part)), item);
}

/** Python's round: halves to the even neighbour. */
function round(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

function sorted(items: Value[], key: (item: Value) => Value, reverse: boolean): Value[] {
  return items
    .map((item) => ({ item, by: key(item) }))
    .sort((a, b) => (reverse ? compare(b.by, a.by) : compare(a.by, b.by)))
    .map(({ item }) => item);
}

/** Items for which a test holds, of themselves or of an attribute of theirs. */
const choose =
  (wanted: boolean, ofAttribute: boolean): Filter =>
  (value, args) => {
    const [path, name, ...rest] = ofAttribute ? args : [undefined, ...args];
    const get = getter(path);
    const test: Test = name === undefined ? truth : testNamed(text(name, 'test'));
    return itemsOf(value).filter((item) => test(get(item), rest) === wanted);
  };
const extreme =
  (sign: number): Filter =>
  (value, args, named) => {
    const [caseSensitive, path] = bind(args, named, ['case_sensitive', 'attribute']);
    const key = (item: Value) => folded(getter(path)(item), caseSensitive);
    const items = itemsOf(value);
    return items.reduce((best, item) => (compare(key(item), key(best)) * sign > 0 ? item : best), items[0]);
  };

function indent(value: Value, args: Value[], named: Map<string, Value>): string {
  const [width, first, blank] = bind(args, named, ['width', 'first', 'blank']);
  const by = typeof width === 'string' ? width : ' '.repeat(integer(width, 'width', 4));
  const lines = text(value, 'indent').split(/\r\n|\r|\n/);
  return lines.map((line, i) => ((i ? line || truth(blank) : truth(first)) ? by + line : line)).join('\n');
}

function tojson(value: Value, args: Value[], named: Map<string, Value>): string {
  const [ensureAscii, width, separators, sortKeys] = bind(args, named, ['ensure_ascii', 'indent', 'separators', 'sort_keys']);
  const by = width === undefined || width === null ? null : typeof width === 'string' ? width : ' '.repeat(integer(width, 'indent', 0));
  const [between, behindKey] = Array.isArray(separators) ? separators.map(str) : [by === null ? ', ' : ',', ': '];
  return toJson(value, { indent: by, separators: [between, behindKey], ensureAscii: truth(ensureAscii), sortKeys: truth(sortKeys) });
}

function toInt(value: Value, args: Value[], named: Map<string, Value>): Value {
  const [missing, base] = bind(args, named, ['default', 'base']);
  if (isNumber(value)) return Math.trunc(numberOf(value));
  const digits = typeof value === 'string' ? strip(value, undefined).replaceAll('_', '') : '';
  if (base !== undefined && base !== 10) {
    const parsed = Number.parseInt(digits.replace(/^0[xob]/i, ''), integer(base, 'base', 10));
    return Number.isNaN(parsed) ? (missing ?? 0) : parsed;
  }
  const parsed = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(digits) ? Math.trunc(Number(digits)) : Number.NaN;
  return Number.isFinite(parsed) ? parsed : (missing ?? 0);
}

function toFloat(value: Value, args: Value[], named: Map<string, Value>): Value {
  if (isNumber(value)) return new Float(numberOf(value));
  const digits = typeof value === 'string' ? strip(value, undefined) : '';
  return digits && Number.isFinite(Number(digits)) ? new Float(Number(digits)) : (bind(args, named, ['default'])[0] ?? new Float(0));
}

function map(value: Value, args: Value[], named: Map<string, Value>): Value {
  if (named.has('attribute')) {
    const get = getter(named.get('attribute'));
    return itemsOf(value).map((item) => get(item) ?? named.get('default'));
  }
  const filter = filterNamed(text(args[0], 'map() filter'));
  return itemsOf(value).map((item) => filter(item, args.slice(1), named));
}

function groupby(value: Value, args: Value[], named: Map<string, Value>): Value {
  const [path, missing] = bind(args, named, ['attribute', 'default']);
  const key = (item: Value) => getter(path)(item) ?? missing;
  const groups: Tuple[] = [];
  for (const item of sorted(itemsOf(value), (one) => folded(key(one), false), false)) {
    const last = groups.at(-1);
    if (last && equal(last[0], key(item))) (last[1] as Value[]).push(item);
    else groups.push(tuple(key(item), [item]));
  }
  return groups;
}

const FILTERS: Record<string, Filter> = {
  abs: (value) => like(value, Math.abs(number(value, 'abs()'))),
  batch: (value, args, named) => {
    const [size, fill] = bind(args, named, ['linecount', 'fill_with']);
    const [items, n] = [itemsOf(value), integer(size, 'linecount', 1)];
    const rows = Array.from({ length: Math.ceil(items.length / n) }, (_, i) => items.slice(i * n, (i + 1) * n));
    const last = rows.at(-1);
    if (last && fill !== undefined && fill !== null) while (last.length < n) last.push(fill);
    return rows;
  },
  capitalize: (value) => capitalize(str(value)),
  center: (value, args, named) => {
    const missing = integer(bind(args, named, ['width'])[0], 'width', 80) - lengthOf(str(value));
    const left = Math.max(0, Math.floor(missing / 2));
    return ' '.repeat(left) + str(value) + ' '.repeat(Math.max(0, missing - left));
  },
  default: (value, args, named) => {
    const [missing, boolean] = bind(args, named, ['default_value', 'boolean']);
    return value === undefined || (truth(boolean) && !truth(value)) ? (missing === undefined ? '' : missing) : value;
  },
  dictsort: (value, args, named) => {
    const [caseSensitive, by, reverse] = bind(args, named, ['case_sensitive', 'by', 'reverse']);
    if (!isDict(value)) throw new TemplateError(`dictsort needs a dict, not ${typeName(value)}`);
    const pairs = [...value].map(([key, item]) => tuple(key, item));
    return sorted(pairs, (pair) => folded((pair as Tuple)[by === 'value' ? 1 : 0], caseSensitive), truth(reverse));
  },
  escape: (value) =>
    str(value).replaceAll('&', '&amp;').replaceAll('>', '&gt;').replaceAll('<', '&lt;').replaceAll("'", '&#39;').replaceAll('"', '&#34;'),
  first: (value) => itemsOf(value)[0],
  float: toFloat,
  format: (value, args, named) => percent(str(value), named.size ? new Map(named) : tuple(...args)),
  groupby,
  indent,
  int: toInt,
  items: (value) => {
    if (value === undefined) return [];
    if (!isDict(value)) throw new TemplateError('Can only get item pairs from a mapping.');
    return [...value].map(([key, item]) => tuple(key, item));
  },
  join: (value, args, named) => {
    const [separator, path] = bind(args, named, ['d', 'attribute']);
    return itemsOf(value)
      .map((item) => str(getter(path)(item)))
      .join(str(separator));
  },
  last: (value) => itemsOf(value).at(-1),
  length: (value) => lengthOf(value),
  list: (value) => itemsOf(value),
  lower: (value) => str(value).toLowerCase(),
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: choose(false, false),
  rejectattr: choose(false, true),
  replace: (value, args, named) => {
    const [old, fresh, count] = bind(args, named, ['old', 'new', 'count']);
    return (attribute(str(value), 'replace') as Callable)([old, fresh, count ?? -1], new Map());
  },
  reverse: (value) => (typeof value === 'string' ? characters(value).reverse().join('') : itemsOf(value).reverse()),
  round: (value, args, named) => {
    const [precision, method] = bind(args, named, ['precision', 'method']);
    const scale = 10 ** integer(precision, 'precision', 0);
    const by = method === 'ceil' ? Math.ceil : method === 'floor' ? Math.floor : round;
    return new Float(by(number(value, 'round()') * scale) / scale);
  },
  safe: (value) => value,
  select: choose(true, false),
  selectattr: choose(true, true),
  sort: (value, args, named) => {
    const [reverse, caseSensitive, path] = bind(args, named, ['reverse', 'case_sensitive', 'attribute']);
    const gets =
      path === undefined || path === null
        ? [getter(path)]
        : str(path)
            .split(',')
            .map((part) => getter(typeof path === 'number' ? path : part.trim()));
    const key = (item: Value) => gets.map((get) => folded(get(item), caseSensitive));
    return sorted(itemsOf(value), key, truth(reverse));
  },
  string: (value) => str(value),
  sum: (value, args, named) => {
    const [path, start] = bind(args, named, ['attribute', 'start']);
    const items = itemsOf(value).map(getter(path));
    const total = items.reduce<number>((sum, item) => sum + number(item, '+'), number(start ?? 0, '+'));
    return items.some((item) => item instanceof Float) || start instanceof Float ? new Float(total) : total;
  },
  title: (value) => titled(str(value)),
  tojson,
  trim: (value, args, named) => strip(str(value), bind(args, named, ['chars'])[0]),
  truncate: (value, args, named) => {
    const [length, kill, end, leeway] = bind(args, named, ['length', 'killwords', 'end', 'leeway']);
    const [all, most, tail] = [characters(str(value)), integer(length, 'length', 255), end === undefined ? '...' : str(end)];
    if (all.length <= most + integer(leeway, 'leeway', 5)) return str(value);
    const cut = all.slice(0, most - lengthOf(tail)).join('');
    return (truth(kill) || !cut.includes(' ') ? cut : cut.slice(0, cut.lastIndexOf(' '))) + tail;
  },
  unique: (value, args, named) => {
    const [caseSensitive, path] = bind(args, named, ['case_sensitive', 'attribute']);
    const key = (item: Value) => folded(getter(path)(item), caseSensitive);
    const items = itemsOf(value);
    return items.filter((item, i) => items.findIndex((other) => equal(key(other), key(item))) === i);
  },
  upper: (value) => str(value).toUpperCase(),
  wordcount: (value) => str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0,
};
Object.assign(FILTERS, { d: FILTERS.default, count: FILTERS.length, e: FILTERS.escape });

const order =
  (holds: (order: number) => boolean): Test =>
  (value, [other]) =>
    holds(compare(value, other));

const TESTS: Record<string, Test> = {
  boolean: (value) => typeof value === 'boolean',
  callable: (value) => typeof value === 'function',
  defined: (value) => value !== undefined,
  divisibleby: (value, [by]) => number(value, '%') % number(by ?? null, '%') === 0,
  eq: (value, [other]) => equal(value, other),
  even: (value) => number(value, '%') % 2 === 0,
  false: (value) => value === false,
  filter: (value) => Object.hasOwn(FILTERS, str(value)),
  float: (value) => value instanceof Float,
  ge: order((n) => n >= 0),
  gt: order((n) => n > 0),
  in: (value, [container]) => contains(container, value),
  integer: (value) => typeof value === 'number',
  iterable: (value) => typeof value === 'string' || Array.isArray(value) || isDict(value) || value === undefined,
  le: order((n) => n <= 0),
  lower: (value) => str(value) === str(value).toLowerCase() && str(value) !== str(value).toUpperCase(),
  lt: order((n) => n < 0),
  mapping: (value) => isDict(value),
  ne: (value, [other]) => !equal(value, other),
  none: (value) => value === null,
  number: (value) => isNumber(value),
  odd: (value) => Math.abs(number(value, '%') % 2) === 1,
  sameas: (value, [other]) => value === other,
  sequence: (value) => typeof value === 'string' || Array.isArray(value) || isDict(value) || value === undefined,
  string: (value) => typeof value === 'string',
  test: (value) => Object.hasOwn(TESTS, str(value)),
  true: (value) => value === true,
  undefined: (value) => value === undefined,
  upper: (value) => str(value) === str(value).toUpperCase() && str(value) !== str(value).toLowerCase(),
};
Object.assign(TESTS, { equalto: TESTS.eq, '==': TESTS.eq, '!=': TESTS.ne, '<': TESTS.lt, '<=': TESTS.le, '>': TESTS.gt, '>=': TESTS.ge });
Object.assign(TESTS, { lessthan: TESTS.lt, greaterthan: TESTS.gt });

export function filterNamed(name: string): Filter {
  if (!Object.hasOwn(FILTERS, name)) throw new TemplateError(`No filter named '${name}'.`);
  return FILTERS[name];
}

export function testNamed(name: string): Test {
  if (!Object.hasOwn(TESTS, name)) throw new TemplateError(`No test named '${name}'.`);
  return TESTS[name];
}

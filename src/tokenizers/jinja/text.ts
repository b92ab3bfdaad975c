import {
  characters,
  isDict,
  isNumber,
  itemsOf,
  numberOf,
  repr,
  str,
  TemplateError,
  Tuple,
  truth,
  tuple,
  typeName,
  type Value,
} from './values';

/** What Python's str.strip() and str.split() take for white space; JavaScript's trim differs in U+FEFF, U+0085 and 1C to 1F. */
const SPACE = '\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const LEADING = new RegExp(`^[${SPACE}]+`);
const TRAILING = new RegExp(`[${SPACE}]+$`);
const BREAK = '\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINES = new RegExp(`(\\r\\n|[${BREAK}])`);

/** Values of a call in the order of a signature: `names` of which may be given by name. */
export function bind(args: Value[], named: Map<string, Value>, names: string[]): Value[] {
  return names.map((name, i) => (i < args.length ? args[i] : named.get(name)));
}

export function text(value: Value, what: string): string {
  if (typeof value !== 'string') throw new TemplateError(`${what} must be str, not ${typeName(value)}`);
  return value;
}

export function integer(value: Value, what: string, missing: number): number {
  if (value === undefined || value === null) return missing;
  if (typeof value !== 'number' && typeof value !== 'boolean') throw new TemplateError(`${what} must be int, not ${typeName(value)}`);
  return Number(value);
}

export function strip(value: string, chars: Value, where: 'left' | 'right' | 'both' = 'both'): string {
  if (chars === undefined || chars === null) {
    const left = where === 'right' ? value : value.replace(LEADING, '');
    return where === 'left' ? left : left.replace(TRAILING, '');
  }
  const set = new Set(characters(text(chars, 'strip arg')));
  const all = characters(value);
  let [from, to] = [0, all.length];
  if (where !== 'right') while (from < to && set.has(all[from])) from++;
  if (where !== 'left') while (to > from && set.has(all[to - 1])) to--;
  return all.slice(from, to).join('');
}

function split(value: string, sep: Value, most: number, fromRight: boolean): string[] {
  const limit = most < 0 ? Number.POSITIVE_INFINITY : most;
  if (sep !== undefined && sep !== null) {
    const separator = text(sep, 'sep');
    if (!separator) throw new TemplateError('empty separator');
    const parts = value.split(separator);
    if (parts.length <= limit + 1) return parts;
    const rest = fromRight ? parts.splice(0, parts.length - limit) : parts.splice(limit);
    return fromRight ? [rest.join(separator), ...parts] : [...parts, rest.join(separator)];
  }
  const parts: string[] = [];
  let rest = strip(value, undefined);
  const next = new RegExp(fromRight ? `[${SPACE}]+([^${SPACE}]+)$` : `^([^${SPACE}]+)[${SPACE}]+`);
  while (parts.length < limit) {
    const found = rest.match(next);
    if (!found) break;
    parts.push(found[1]);
    rest = fromRight ? rest.slice(0, rest.length - found[0].length) : rest.slice(found[0].length);
  }
  if (rest) parts.push(rest);
  // What is left when the limit is reached keeps the white space at its far end.
  if (parts.length > limit) {
    const kept = fromRight
      ? value.slice(0, value.length - strip(value, undefined, 'left').length)
      : value.slice(strip(value, undefined, 'right').length);
    parts[parts.length - 1] = fromRight ? kept + parts[parts.length - 1] : parts[parts.length - 1] + kept;
  }
  return fromRight ? parts.reverse() : parts;
}

function replace(value: string, old: string, fresh: string, count: number): string {
  if (count < 0)
    return old
      ? value.replaceAll(old, () => fresh)
      : fresh +
          characters(value)
            .map((c) => c + fresh)
            .join('');
  const parts = old ? value.split(old) : ['', ...characters(value), ''];
  const done = parts.slice(0, count + 1).join(fresh);
  return parts.length > count + 1 ? done + old + parts.slice(count + 1).join(old) : done;
}

/** Python's printf-style formatting: %s, %d, %i, %r, %f, %x, %%, with width and precision. */
export function percent(value: string, given: Value): string {
  const args = given instanceof Tuple ? Array.from(given) : [given];
  let next = 0;
  return value.replace(
    /%(?:\((\w+)\))?([-0 +#]*)(\d+)?(?:\.(\d+))?([sdirfx%])/g,
    (_, key, flags: string, width, precision, kind: string) => {
      if (kind === '%') return '%';
      const item = key !== undefined && isDict(given) ? given.get(key) : args[next++];
      let out = kind === 'r' ? repr(item) : str(item);
      if ('difx'.includes(kind)) {
        if (!isNumber(item)) throw new TemplateError(`%${kind} format: a real number is required, not ${typeName(item)}`);
        const n = numberOf(item);
        out = kind === 'f' ? n.toFixed(Number(precision ?? 6)) : kind === 'x' ? Math.trunc(n).toString(16) : String(Math.trunc(n));
        if (flags.includes('+') && n >= 0) out = `+${out}`;
      } else if (precision !== undefined) out = characters(out).slice(0, Number(precision)).join('');
      if (width === undefined) return out;
      return flags.includes('-') ? out.padEnd(Number(width)) : out.padStart(Number(width), flags.includes('0') && kind !== 's' ? '0' : ' ');
    },
  );
}

export const capitalize = (value: string): string => {
  const [first = '', ...rest] = characters(value);
  return first.toUpperCase() + rest.join('').toLowerCase();
};
/** str.title(): letters behind no letter are capitals. */
export const titled = (value: string): string =>
  value.toLowerCase().replace(/(^|\P{L})(\p{L})/gu, (_, before: string, letter: string) => before + letter.toUpperCase());

export type Method<T> = (self: T, args: Value[], named: Map<string, Value>) => Value;

const starts =
  (test: (value: string, part: string) => boolean, name: string): Method<string> =>
  (self, [part, from, to]) => {
    const within =
      from === undefined && to === undefined
        ? self
        : characters(self)
            .slice(integer(from, 'start', 0), integer(to, 'end', Number.POSITIVE_INFINITY))
            .join('');
    return (part instanceof Tuple ? Array.from(part) : [part]).some((one) => test(within, text(one, `${name} first arg`)));
  };
const finder =
  (last: boolean, required: boolean): Method<string> =>
  (self, [part, from]) => {
    const start = characters(self)
      .slice(0, integer(from, 'start', 0))
      .join('').length;
    const at = last ? self.lastIndexOf(text(part, 'argument 1')) : self.indexOf(text(part, 'argument 1'), start);
    if (at < start && required) throw new TemplateError('substring not found');
    return at < start ? -1 : characters(self.slice(0, at)).length;
  };
const every =
  (pattern: RegExp): Method<string> =>
  (self) =>
    pattern.test(self);
const pad =
  (place: (missing: number) => [number, number]): Method<string> =>
  (self, [width, fill]) => {
    const [left, right] = place(Math.max(0, integer(width, 'width', 0) - characters(self).length));
    return str(fill ?? ' ').repeat(left) + self + str(fill ?? ' ').repeat(right);
  };
const partition =
  (last: boolean): Method<string> =>
  (self, [sep]) => {
    const separator = text(sep, 'sep');
    const at = last ? self.lastIndexOf(separator) : self.indexOf(separator);
    if (at < 0) return last ? tuple('', '', self) : tuple(self, '', '');
    return tuple(self.slice(0, at), separator, self.slice(at + separator.length));
  };

/** Methods of str, but for format. */
export const STR: Record<string, Method<string>> = {
  upper: (self) => self.toUpperCase(),
  lower: (self) => self.toLowerCase(),
  casefold: (self) => self.toLowerCase().replaceAll('ß', 'ss'),
  swapcase: (self) =>
    characters(self)
      .map((c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()))
      .join(''),
  title: titled,
  capitalize,
  strip: (self, [chars]) => strip(self, chars),
  lstrip: (self, [chars]) => strip(self, chars, 'left'),
  rstrip: (self, [chars]) => strip(self, chars, 'right'),
  startswith: starts((value, part) => value.startsWith(part), 'startswith'),
  endswith: starts((value, part) => value.endsWith(part), 'endswith'),
  split: (self, args, named) => {
    const [sep, most] = bind(args, named, ['sep', 'maxsplit']);
    return split(self, sep, integer(most, 'maxsplit', -1), false);
  },
  rsplit: (self, args, named) => {
    const [sep, most] = bind(args, named, ['sep', 'maxsplit']);
    return split(self, sep, integer(most, 'maxsplit', -1), true);
  },
  splitlines: (self, args, named) => {
    const keep = truth(bind(args, named, ['keepends'])[0]);
    return self.split(LINES).flatMap((line, i, all) => (i % 2 ? [] : line || all[i + 1] ? [line + (keep ? (all[i + 1] ?? '') : '')] : []));
  },
  replace: (self, args, named) => {
    const [old, fresh, count] = bind(args, named, ['old', 'new', 'count']);
    return replace(self, text(old, 'replace() argument 1'), text(fresh, 'replace() argument 2'), integer(count, 'count', -1));
  },
  join: (self, [items]) =>
    itemsOf(items)
      .map((item, i) => text(item, `sequence item ${i}:`))
      .join(self),
  find: finder(false, false),
  rfind: finder(true, false),
  index: finder(false, true),
  rindex: finder(true, true),
  count: (self, [part]) => self.split(text(part, 'argument 1')).length - 1,
  partition: partition(false),
  rpartition: partition(true),
  removeprefix: (self, [part]) => (self.startsWith(text(part, 'argument')) ? self.slice((part as string).length) : self),
  removesuffix: (self, [part]) => (part && self.endsWith(text(part, 'argument')) ? self.slice(0, -(part as string).length) : self),
  ljust: pad((missing) => [0, missing]),
  rjust: pad((missing) => [missing, 0]),
  center: pad((missing) => [Math.floor(missing / 2), Math.ceil(missing / 2)]),
  zfill: (self, [width]) => {
    const [, sign, rest] = self.match(/^([+-]?)([\s\S]*)$/) as RegExpMatchArray;
    return sign + rest.padStart(integer(width, 'width', 0) - sign.length, '0');
  },
  isdigit: every(/^\p{Nd}+$/u),
  isdecimal: every(/^\p{Nd}+$/u),
  isnumeric: every(/^\p{N}+$/u),
  isalpha: every(/^\p{L}+$/u),
  isalnum: every(/^[\p{L}\p{N}]+$/u),
  isspace: every(new RegExp(`^[${SPACE}]+$`)),
  isupper: (self) => self === self.toUpperCase() && self !== self.toLowerCase(),
  islower: (self) => self === self.toLowerCase() && self !== self.toUpperCase(),
  istitle: (self) => self === titled(self) && self !== self.toLowerCase(),
};

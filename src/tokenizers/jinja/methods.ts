import { type Method, STR } from './text';
import {
  type Callable,
  characters,
  type Dict,
  equal,
  isDict,
  Namespace,
  repr,
  str,
  TemplateError,
  tuple,
  typeName,
  type Value,
} from './values';

/** Python's placeholders {}, {0} and {name}, without format specifications. */
function format(value: string, args: Value[], named: Map<string, Value>): string {
  let next = 0;
  return value.replace(
    /\{\{|\}\}|\{(\w*)((?:\.\w+|\[\w+\])*)(?:!([rs]))?(?::([^}]*))?\}/g,
    (all, name: string | undefined, path: string, kind: string, spec: string) => {
      if (name === undefined) return all[0];
      if (spec) throw new TemplateError(`format specifications (${all}) are not supported`);
      let found = name === '' ? args[next++] : /^\d+$/.test(name) ? args[Number(name)] : named.get(name);
      for (const [part] of path.matchAll(/\w+/g)) found = attribute(found, part);
      return kind === 'r' ? repr(found) : str(found);
    },
  );
}

const TEXT: Record<string, Method<string>> = { ...STR, format };

const DICT: Record<string, Method<Dict>> = {
  get: (self, [key, missing]) => (self.has(key) ? self.get(key) : (missing ?? null)),
  keys: (self) => [...self.keys()],
  values: (self) => [...self.values()],
  items: (self) => [...self].map(([key, item]) => tuple(key, item)),
  copy: (self) => new Map(self),
};

const LIST: Record<string, Method<Value[]>> = {
  index: (self, [item]) => {
    const at = self.findIndex((one) => equal(one, item));
    if (at < 0) throw new TemplateError(`${repr(item)} is not in list`);
    return at;
  },
  count: (self, [item]) => self.filter((one) => equal(one, item)).length,
  copy: (self) => Array.from(self),
};

/** Methods that would change a value: transformers' sandbox forbids them. */
const CHANGING = new Set(['append', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort', 'clear', 'update', 'setdefault', 'popitem']);

function method(value: Value, name: string): Callable | undefined {
  const table = typeof value === 'string' ? TEXT : isDict(value) ? DICT : Array.isArray(value) ? LIST : undefined;
  if (!table) return undefined;
  if (table !== TEXT && CHANGING.has(name))
    return () => {
      throw new TemplateError(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
    };
  const found = Object.hasOwn(table, name) ? (table[name] as Method<Value>) : undefined;
  return found && ((args, named) => found(value, args, named));
}

function item(value: Value, key: Value): Value {
  if (isDict(value)) return value.get(key);
  if (Array.isArray(value) || typeof value === 'string') {
    if (typeof key !== 'number' && typeof key !== 'boolean') return undefined;
    return (typeof value === 'string' ? characters(value) : value).at(Number(key));
  }
  return undefined;
}

/** value.name: an attribute, else an item, else Undefined. */
export function attribute(value: Value, name: string | number): Value {
  if (typeof name === 'number') return item(value, name);
  if (value instanceof Namespace) return value.values.get(name);
  return method(value, name) ?? item(value, name);
}

/** value[key]: an item, else an attribute, else Undefined. */
export function subscript(value: Value, key: Value): Value {
  if (value instanceof Namespace) return typeof key === 'string' ? value.values.get(key) : undefined;
  if (isDict(value) && value.has(key)) return value.get(key);
  return item(value, key) ?? (typeof key === 'string' ? method(value, key) : undefined);
}

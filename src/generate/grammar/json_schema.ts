import { OptionError } from '../../core/errors';
import { show } from '../../core/options';
import { jsonCharacter, without } from './characters';
import type { Expression, Language } from './expression';
import { integersBetween } from './integers';
import { FORMATS, NOTES, OBEYED, TYPES } from './json_keywords';
import { regex } from './regex';

type Schema = Record<string, unknown> | boolean;

/** So deep do values nest that a schema says nothing of. */
const DEEP = 4;
/** So deep may schemas stand in one another, and so many properties may an object have. */
const DEEPEST = 256;
const MOST_PROPERTIES = 1024;

/**
 * The JSON texts that a schema (draft 2020-12, and `definitions`) describes, with little white space. Properties come in the schema's order;
 * others come only where `additionalProperties` is set and not false. What cannot be obeyed is an OptionError.
 */
class Compiler {
  private readonly space: Expression;
  /** Any character of a string. */
  private readonly any: Expression;

  constructor(
    private readonly l: Language,
    private readonly root: Schema,
  ) {
    const indented = l.follow(
      l.text('\n'),
      l.repeat(
        l.bytes([
          [9, 9],
          [32, 32],
        ]),
        0,
        20,
      ),
    );
    this.space = l.either([l.empty, l.text(' '), indented]);
    this.any = jsonCharacter(l, without([]));
  }

  private fail(path: string, what: string): never {
    throw new OptionError(`The JSON schema at ${path}: ${what}`);
  }

  /** How deep the schema is in others that it is made with at once. */
  private depth = 0;

  schema(schema: Schema, path: string): Expression {
    if (this.depth >= DEEPEST) this.fail(path, `schemas stand in more than ${DEEPEST} others, or in themselves.`);
    this.depth++;
    try {
      return this.made(schema, path);
    } finally {
      this.depth--;
    }
  }

  private made(schema: Schema, path: string): Expression {
    if (typeof schema === 'boolean') return schema ? this.value(DEEP) : this.fail(path, 'false describes nothing.');
    if (typeof schema !== 'object' || schema === null) this.fail(path, `${show(schema)} is no schema.`);
    const { l } = this;
    if (schema.$ref !== undefined) {
      this.only(schema, [], ['$ref'], path);
      return l.lazy(() => this.schema(this.at(schema.$ref, path), String(schema.$ref)), `$ref ${schema.$ref}`);
    }
    if (schema.enum !== undefined || schema.const !== undefined) {
      const values = schema.const !== undefined ? [schema.const] : (schema.enum as unknown[]);
      if (!Array.isArray(values) || !values.length) this.fail(path, `enum is ${show(values)}; it is a list of values.`);
      this.only(schema, TYPES, ['enum', 'const', 'type'], path);
      return l.either(values.map((value) => l.text(JSON.stringify(value))));
    }
    for (const name of ['anyOf', 'oneOf', 'allOf'] as const) {
      const some = schema[name];
      if (some === undefined) continue;
      if (!Array.isArray(some) || !some.length) this.fail(path, `${name} is ${show(some)}; it is a list of schemas.`);
      const { [name]: _, ...rest } = schema;
      const own = Object.keys(rest).some((key) => !NOTES.includes(key));
      if (name === 'allOf') return this.schema(this.merged([rest, ...some], path), path);
      if (own) return l.either(some.map((one, i) => this.schema(this.merged([rest, one], path), `${path}/${name}/${i}`)));
      return l.either(some.map((one, i) => this.schema(one, `${path}/${name}/${i}`)));
    }
    if (!Object.keys(schema).some((key) => !NOTES.includes(key))) return this.value(DEEP);
    const types = schema.type === undefined ? this.implied(schema) : ([schema.type].flat() as string[]);
    for (const type of types) if (!TYPES.includes(type)) this.fail(path, `there is no type ${show(type)}.`);
    this.only(schema, types, ['type'], path);
    return l.either(types.map((type) => this.typed(type, schema, path)));
  }

  /** Where nothing says a type: that of what is asked of it, or any. */
  private implied(schema: Record<string, unknown>): string[] {
    const found = TYPES.filter((type) => OBEYED[type].some((name) => name in schema));
    return found.length ? found : TYPES.filter((type) => type !== 'integer');
  }

  private only(schema: Record<string, unknown>, types: readonly string[], more: readonly string[], path: string): void {
    const known = [...NOTES, ...more, ...types.flatMap((type) => OBEYED[type])];
    const others = TYPES.flatMap((type) => OBEYED[type]);
    for (const name of Object.keys(schema)) {
      if (known.includes(name)) continue;
      // What is asked of other types holds for any value of these.
      if (others.includes(name) && types.length && !(name.includes('inimum') || name.includes('aximum'))) continue;
      this.fail(path, `${name} = ${show(schema[name])} cannot be written by. Leave it out, and look whether the answer fits.`);
    }
  }

  /** What a reference means. */
  private at(reference: unknown, path: string): Schema {
    if (typeof reference !== 'string' || !/^#(\/|$)/.test(reference))
      this.fail(path, `$ref ${show(reference)} is not in this schema ('#/$defs/...').`);
    let found: unknown = this.root;
    for (const part of (reference as string).split('/').slice(1)) {
      const name = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
      found = found instanceof Object && Object.hasOwn(found, name) ? (found as Record<string, unknown>)[name] : undefined;
    }
    if (found === undefined) this.fail(path, `$ref ${show(reference)} is not there.`);
    return found as Schema;
  }

  /** Schemas that all hold, as one: objects that add properties, and limits that do not meet. */
  private merged(all: Schema[], path: string): Schema {
    const made: Record<string, unknown> = {};
    for (const part of all.map((one) => (one instanceof Object && '$ref' in one ? this.at(one.$ref, path) : one))) {
      if (typeof part === 'boolean') this.fail(path, 'allOf has true or false.');
      for (const [name, value] of Object.entries(part)) {
        const before = made[name];
        if (NOTES.includes(name)) continue;
        if (before === undefined || JSON.stringify(before) === JSON.stringify(value)) made[name] = value;
        else if (name === 'required') made[name] = [...new Set([...(before as string[]), ...(value as string[])])];
        else if (name === 'properties') {
          const [a, b] = [before as Record<string, Schema>, value as Record<string, Schema>];
          const both = Object.keys(a).filter((key) => key in b);
          made[name] = { ...a, ...b, ...Object.fromEntries(both.map((key) => [key, this.merged([a[key], b[key]], path)])) };
        } else this.fail(path, `${name} is said more than once.`);
      }
    }
    return made;
  }

  private typed(type: string, schema: Record<string, unknown>, path: string): Expression {
    const { l } = this;
    switch (type) {
      case 'string':
        return this.string(schema, path);
      case 'integer':
        return integersBetween(l, this.bound(schema, 'minimum', 1, path), this.bound(schema, 'maximum', -1, path));
      case 'number':
        return regex(l, '-?(0|[1-9]\\d{0,15})(\\.\\d{1,16})?([eE][+-]?\\d{1,3})?', (points) => jsonCharacter(l, points), true);
      case 'boolean':
        return l.either([l.text('true'), l.text('false')]);
      case 'null':
        return l.text('null');
      case 'array':
        return this.array(schema, path);
      default:
        return this.object(schema, path);
    }
  }

  private bound(schema: Record<string, unknown>, name: 'minimum' | 'maximum', way: number, path: string): number | undefined {
    const exclusive = `exclusive${name[0].toUpperCase()}${name.slice(1)}`;
    const found = [schema[name], schema[exclusive]].map((value, i) => {
      if (value === undefined) return undefined;
      if (typeof value !== 'number') return this.fail(path, `${i ? exclusive : name} is ${show(value)}; it is a number.`);
      const whole = way > 0 ? Math.ceil(value) : Math.floor(value);
      return i && whole === value ? whole + way : whole;
    });
    const all = found.filter((value) => value !== undefined);
    return all.length ? (way > 0 ? Math.max(...all) : Math.min(...all)) : undefined;
  }

  private string({ minLength, maxLength, pattern, format }: Record<string, unknown>, path: string): Expression {
    const { l } = this;
    const [least, most] = [this.count('minLength', minLength, 0, path), this.count('maxLength', maxLength, Number.POSITIVE_INFINITY, path)];
    const quoted = (inner: Expression) => l.sequence([l.text('"'), inner, l.text('"')]);
    const described = pattern ?? (format === undefined ? undefined : FORMATS[String(format)]);
    if (format !== undefined && !FORMATS[String(format)])
      this.fail(path, `format ${show(format)} is not known; there are ${Object.keys(FORMATS).join(', ')}. A pattern can say it too.`);
    if (pattern !== undefined && format !== undefined) this.fail(path, 'pattern and format are both said.');
    if (described === undefined) return quoted(l.repeat(this.any, least, most));
    if (minLength !== undefined || maxLength !== undefined) this.fail(path, 'a length beside a pattern: say it in the pattern, {2,9}.');
    return quoted(regex(l, String(described), (points) => jsonCharacter(l, points), pattern === undefined));
  }

  private count(name: string, value: unknown, otherwise: number, path: string): number {
    if (value === undefined) return otherwise;
    if (!Number.isInteger(value) || (value as number) < 0) this.fail(path, `${name} is ${show(value)}; it is a whole number.`);
    return value as number;
  }

  /** Items with commas between: `at(i)` is the one at i, at most `most`; from `least` on the list may end. */
  private list(at: (i: number) => Expression | undefined, fixed: number, least: number, most: number): Expression {
    const { l, space } = this;
    const comma = l.sequence([l.text(','), space]);
    const further = (i: number, item: Expression) => (i ? l.follow(comma, item) : item);
    const from = (i: number): Expression => {
      const item = i < most ? at(i) : undefined;
      if (!item) return l.empty;
      if (i >= fixed) {
        const [min, max] = [Math.max(0, least - i), most - i];
        if (i) return l.repeat(l.follow(comma, item), min, max);
        const rest = l.follow(item, l.repeat(l.follow(comma, item), Math.max(0, min - 1), max - 1));
        return min ? rest : l.optional(rest);
      }
      const rest = l.follow(further(i, item), from(i + 1));
      return i < least ? rest : l.optional(rest);
    };
    return l.sequence([l.text('['), space, from(0), space, l.text(']')]);
  }

  private array({ items, prefixItems = [], minItems, maxItems }: Record<string, unknown>, path: string): Expression {
    if (!Array.isArray(prefixItems)) this.fail(path, `prefixItems is ${show(prefixItems)}; it is a list of schemas.`);
    const first = prefixItems as Schema[];
    const [least, most] = [this.count('minItems', minItems, 0, path), this.count('maxItems', maxItems, Number.POSITIVE_INFINITY, path)];
    const own = first.map((schema, i) => this.schema(schema, `${path}/prefixItems/${i}`));
    const others = items === false ? undefined : items === undefined ? this.value(DEEP - 1) : this.schema(items as Schema, `${path}/items`);
    if (least > most || (!others && least > own.length)) this.fail(path, `no list has at least ${least} of these.`);
    return this.list((i) => own[i] ?? others, own.length, least, most);
  }

  private object({ properties = {}, required = [], ...schema }: Record<string, unknown>, path: string): Expression {
    const { additionalProperties = !Object.keys(properties as object).length } = schema;
    const { l, space } = this;
    const known = Object.entries(properties as Record<string, Schema>);
    const needed = new Set(required as string[]);
    const missing = [...needed].filter((name) => !known.some(([key]) => key === name));
    const pair = (name: Expression, value: Expression) => l.sequence([name, l.text(':'), space, value]);
    const comma = l.sequence([l.text(','), space]);
    const name = () => l.sequence([l.text('"'), this.otherThan(known.map(([key]) => [...key])), l.text('"')]);
    const others = () =>
      additionalProperties === true ? this.value(DEEP - 1) : this.schema(additionalProperties as Schema, `${path}/additionalProperties`);
    const extra = additionalProperties === false ? undefined : l.lazy(() => pair(name(), others()));
    const described: [string, Schema][] = [...known, ...missing.map((name): [string, Schema] => [name, additionalProperties as Schema])];
    if (described.length > MOST_PROPERTIES) this.fail(path, `it has ${described.length} properties; ${MOST_PROPERTIES} are the most.`);
    if (missing.length && additionalProperties === false && properties && known.length)
      this.fail(path, `required has ${show(missing[0])}, which is no property.`);
    const more = extra ? l.repeat(l.follow(comma, extra), 0) : l.empty;
    // What may follow from a property on, where none is before it and where there are some: each is made once, of those behind it.
    let [first, further] = [extra ? l.optional(l.follow(extra, more)) : l.empty, more];
    for (const [name, schema] of described.toReversed()) {
      const value = l.lazy(() => this.schema(schema, `${path}/properties/${name}`));
      const own = pair(l.text(JSON.stringify(name)), value);
      const [here, there] = [l.follow(own, further), l.follow(comma, l.follow(own, further))];
      [first, further] = needed.has(name) ? [here, there] : [l.either([here, first]), l.either([there, further])];
    }
    return l.sequence([l.text('{'), space, first, space, l.text('}')]);
  }

  /** What stands in a string that is none of these names. */
  private otherThan(names: string[][]): Expression {
    const { l } = this;
    const firsts = new Map<string, string[][]>();
    for (const [first, ...rest] of names) if (first !== undefined) firsts.set(first, [...(firsts.get(first) ?? []), rest]);
    const point = (char: string): [number, number] => [char.codePointAt(0) as number, char.codePointAt(0) as number];
    return l.either([
      ...(names.some(({ length }) => !length) ? [] : [l.empty]),
      ...[...firsts].map(([char, rest]) => l.follow(jsonCharacter(l, [point(char)]), this.otherThan(rest))),
      l.follow(jsonCharacter(l, without([...firsts.keys()].map(point))), l.repeat(this.any, 0)),
    ]);
  }

  /** Any value, with others inside up to a depth. */
  value(deep: number): Expression {
    const { l } = this;
    const plain = ['string', 'number', 'boolean', 'null'].map((type) => this.typed(type, {}, ''));
    if (deep === 0) return l.either(plain);
    const inner = l.lazy(() => this.value(deep - 1), `value ${deep - 1}`);
    const pair = l.sequence([this.string({}, ''), l.text(':'), this.space, inner]);
    const more = l.repeat(l.sequence([l.text(','), this.space, pair]), 0);
    const object = l.sequence([l.text('{'), this.space, l.optional(l.follow(pair, more)), this.space, l.text('}')]);
    return l.either([...plain, this.list(() => inner, 0, 0, Number.POSITIVE_INFINITY), object]);
  }
}

/** The JSON texts that a schema describes. */
export function jsonSchema(l: Language, schema: Schema): Expression {
  return new Compiler(l, schema).schema(schema, '#');
}

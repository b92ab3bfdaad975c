import { describe, expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { character } from '../../src/generate/grammar/characters';
import { type Expression, Language } from '../../src/generate/grammar/expression';
import { integersBetween } from '../../src/generate/grammar/integers';
import { jsonSchema } from '../../src/generate/grammar/json_schema';
import { regex } from '../../src/generate/grammar/regex';

/** Whether a text is of a language. */
function matcher(make: (l: Language) => Expression): (text: string) => boolean {
  const l = new Language();
  const start = l.state([make(l)]);
  return (text) => {
    let state: typeof start | undefined = start;
    for (const byte of Buffer.from(text)) state = state?.after(byte);
    return state?.canEnd ?? false;
  };
}

const PATTERNS = [
  ...[
    'a',
    'ab|c',
    '(ab|a)*b',
    'a?b+c*',
    '[abc]{2,3}',
    '[^a]b',
    'a{2}',
    'a{2,}',
    '(a|b)(c|d)?',
    '.b',
    '\\d+',
    '\\w\\s\\w',
    '[a-c0-1]*',
    '(?:a|bc)+?d',
  ],
  ...[
    '(?<name>a)b',
    '\\u0061b',
    '\\x61|é+',
    '[^\\x00-ÿ]a',
    '[é-ü]*a',
    '🙂+b',
    '\\.\\*',
    '[\\]\\-a]+',
    '()',
    'a|',
    '[\\d-]+',
    '\\D\\S',
    'a(b(c|d)|)*',
  ],
];
const ALPHABET = ['a', 'b', 'c', 'd', '0', '1', ' ', '-', '.', '*', ']', 'é', 'ü', '🙂', '\n', 'あ'];

it('regular expressions match what JavaScript’s match', () => {
  const random = Random.seeded(4);
  const texts = [
    '',
    ...ALPHABET,
    ...Array.from({ length: 1500 }, () => Array.from({ length: random.below(6) }, () => ALPHABET[random.below(ALPHABET.length)]).join('')),
  ];
  for (const pattern of PATTERNS) {
    const ours = matcher((l) => regex(l, pattern, (points) => character(l, points), true));
    const theirs = new RegExp(`^(?:${pattern})$`, 'u'.repeat(/[\\]\\-]|\\x|\\-/.test(pattern) ? 1 : 1));
    for (const text of texts) expect(ours(text), `${pattern} on ${JSON.stringify(text)}`).toBe(theirs.test(text));
  }
  for (const pattern of ['^a', 'b$', '^a|b$', 'a', '^(a|b)+$']) {
    const ours = matcher((l) => regex(l, pattern, (points) => character(l, points), false));
    for (const text of texts) expect(ours(text), `${pattern} in ${JSON.stringify(text)}`).toBe(new RegExp(pattern, 'u').test(text));
  }
  for (const pattern of ['a(?=b)', '(?<!a)b', '(a)\\1', '\\bx', '(a', '[a', 'a^b', '+', 'a{3,2}', '[b-a]', '\\p{L}', 'a)'])
    expect(() => new Language() && regex(new Language(), pattern, () => new Language().empty, true), pattern).toThrow(/The pattern/);
});

it('whole numbers of a range are all of these and no others', () => {
  const random = Random.seeded(5);
  const ranges = [
    [0, 0],
    [-1, 1],
    [9, 10],
    [99, 1000],
    [-1000, -99],
    [-5, 1234],
    ...Array.from({ length: 12 }, () => [random.below(3000) - 1500, random.below(3000) - 1500].sort((a, b) => a - b)),
  ];
  for (const [low, high] of ranges) {
    const fits = matcher((l) => integersBetween(l, low, high));
    for (let i = -1600; i <= 1600; i++) expect(fits(String(i)), `${i} in ${low} to ${high}`).toBe(i >= low && i <= high);
    expect(fits('-0') || fits('01') || fits('')).toBe(false);
  }
  const open = matcher((l) => integersBetween(l, 7));
  expect(['7', '8', '10', '123456789'].every(open)).toBe(true);
  expect(['6', '-7', '0'].some(open)).toBe(false);
});

/** A schema, and what it does and does not describe. */
const SCHEMAS: Record<string, { schema: object | boolean; yes: unknown[]; no: unknown[] }> = {
  object: {
    schema: {
      type: 'object',
      properties: { a: { type: 'integer' }, b: { type: 'string' }, c: { type: 'boolean' } },
      required: ['b'],
      title: 'T',
    },
    yes: [{ b: '' }, { a: 1, b: 'x' }, { a: -20, b: 'é"\\\n\u0001🙂', c: true }, { b: 'y', c: false }],
    no: [{}, { a: 1 }, { a: 1.5, b: '' }, { b: 1 }, { b: '', d: 1 }, [], 'b', { b: '', a: 1 }],
  },
  'further properties': {
    schema: { properties: { a: { type: 'null' } }, additionalProperties: { type: 'integer' } },
    yes: [{}, { a: null }, { a: null, x: 3, y: 4 }, { z: 1 }, { aa: 1, '': 2 }],
    no: [{ a: 1 }, { x: 'a' }, { x: 1, a: 2 }],
  },
  'required and not described': {
    schema: { type: 'object', required: ['k'], additionalProperties: true },
    yes: [{ k: 1 }, { k: [], l: {} }],
    no: [{}, { l: 1 }],
  },
  lists: {
    schema: { type: 'array', items: { type: 'integer', minimum: 2, exclusiveMaximum: 9 }, minItems: 1, maxItems: 3 },
    yes: [[2], [3, 4], [8, 8, 8]],
    no: [[], [1], [9], [2, 2, 2, 2], [2, 'a']],
  },
  tuples: {
    schema: { prefixItems: [{ type: 'string' }, { type: 'integer' }], items: { type: 'null' }, minItems: 1 },
    yes: [['a'], ['a', 1], ['a', 1, null, null]],
    no: [[], [1], ['a', 'b'], ['a', 1, 1]],
  },
  'choices, of several types': {
    schema: { enum: ['a', 'b "c"', 3, null, { x: [1] }] },
    yes: ['a', 'b "c"', 3, null, { x: [1] }],
    no: ['c', 33, {}, 'null'],
  },
  constants: { schema: { const: 'only' }, yes: ['only'], no: ['onl', 'only1'] },
  'any of': { schema: { anyOf: [{ type: 'integer' }, { type: 'string', maxLength: 2 }] }, yes: [1, 'ab', ''], no: ['abc', 1.5, null] },
  'any of, beside what holds for all': {
    schema: {
      type: 'object',
      properties: { a: { type: 'integer' } },
      required: ['a'],
      anyOf: [{ properties: { b: { type: 'null' } }, required: ['b'] }, { required: [] }],
    },
    yes: [{ a: 1, b: null }, { a: 1 }],
    no: [{ b: null }, {}],
  },
  'all of': {
    schema: {
      allOf: [{ $ref: '#/$defs/one' }, { properties: { y: { type: 'integer' } }, required: ['y'] }],
      $defs: { one: { type: 'object', properties: { x: { type: 'integer' } }, required: ['x'] } },
    },
    yes: [{ x: 1, y: 2 }],
    no: [{ x: 1 }, { y: 2 }],
  },
  'a tree': {
    schema: {
      $ref: '#/$defs/node',
      $defs: {
        node: {
          type: 'object',
          properties: { v: { type: 'integer' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
          required: ['v', 'next'],
        },
      },
    },
    yes: [
      { v: 1, next: null },
      { v: 1, next: { v: 2, next: { v: 3, next: null } } },
    ],
    no: [{ v: 1 }, { v: 1, next: { v: 2 } }],
  },
  'the root in itself': { schema: { type: 'array', items: { $ref: '#' } }, yes: [[], [[], [[]]]], no: [1, [1]] },
  'lengths and patterns': {
    schema: {
      properties: { s: { type: 'string', minLength: 2, maxLength: 3 }, p: { type: 'string', pattern: '^[A-Z]"{1,2}\\d+$' } },
      required: ['s', 'p'],
    },
    yes: [
      { s: 'ab', p: 'A"1' },
      { s: '🙂🙂é', p: 'Z""99' },
    ],
    no: [
      { s: 'a', p: 'A"1' },
      { s: 'abcd', p: 'A"1' },
      { s: 'ab', p: 'A1' },
    ],
  },
  'a pattern somewhere': { schema: { type: 'string', pattern: 'x\\dy' }, yes: ['x1y', 'a x2y b'], no: ['xy', ''] },
  formats: { schema: { type: 'string', format: 'date' }, yes: ['2026-11-26'], no: ['2026-13-26', '26.11.2026'] },
  numbers: { schema: { type: 'number' }, yes: [0, -1.5, 1e-7, 123456.789, 2e21], no: ['1', null, true] },
  anything: { schema: {}, yes: [1, 'a', null, true, [1, [2]], { a: { b: [] } }], no: [] },
  'any object': { schema: { type: 'object' }, yes: [{}, { a: [1], b: 'x' }], no: [1, []] },
  true: { schema: true, yes: [{ a: [1] }], no: [] },
  'two types': { schema: { type: ['integer', 'null'], minimum: 3 }, yes: [3, null], no: [2, '3'] },
};

const properties = (count: number, schema: object) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, schema]));
const nested = (deep: number) => {
  let schema: object = {};
  for (let i = 0; i < deep; i++) schema = { type: 'array', items: schema };
  return schema;
};
const BOOLEANS = properties(60, { type: 'boolean' });
const OBJECTS = properties(60, { type: 'object', properties: { a: { type: 'null' } } });
const all = (value: unknown) => Object.fromEntries(Object.keys(BOOLEANS).map((name) => [name, value]));
/** What takes no more than its size asks for, however many ways there are through it. */
const LARGE: typeof SCHEMAS = {
  '60 properties that may be left out': {
    schema: { properties: BOOLEANS },
    yes: [{}, all(true), { p0: true, p59: false }, { p7: true }],
    no: [{ p59: true, p0: true }, { p0: 1 }, { p60: true }, { p1: true, p3: 'x' }],
  },
  'with others behind them': {
    schema: { properties: BOOLEANS, additionalProperties: { type: 'integer' } },
    yes: [{}, all(false), { p8: true, x: 1, y: 2 }, { x: 1 }],
    no: [{ x: true }, { p1: 1 }, { p8: true, x: null }],
  },
  'every other one required': {
    schema: { properties: BOOLEANS, required: Object.keys(BOOLEANS).filter((_, i) => i % 2) },
    yes: [all(true)],
    no: [{}, { p1: true }],
  },
  objects: { schema: { properties: OBJECTS }, yes: [{}, all({ a: null }), { p5: {} }], no: [{ p5: { b: 1 } }, all({ a: 1 })] },
  'names with the marks of paths in them': {
    schema: {
      properties: {
        a: { properties: { b: { type: 'integer' } }, additionalProperties: { type: 'integer' } },
        'a/properties/b': { type: 'string' },
        'a others': { type: 'null' },
      },
    },
    yes: [{ a: { b: 1, c: 2 }, 'a/properties/b': 'x', 'a others': null }, { 'a/properties/b': 'x' }],
    no: [{ a: { b: 'x' } }, { 'a/properties/b': 1 }, { a: { b: 1 }, 'a/properties/b': 1 }, { 'a others': 1 }],
  },
  'what a reference finds apart from what it was merged with': {
    schema: {
      properties: { a: { anyOf: [{ type: 'object', properties: { x: { type: 'integer' } } }], properties: { x: { minimum: 5 } } } },
      $defs: { b: { $ref: '#/properties/a/anyOf/0' } },
    },
    yes: [{ a: { x: 5 } }],
    no: [{ a: { x: 4 } }],
  },
};

describe('JSON of a schema', () => {
  for (const [what, { schema, yes, no }] of Object.entries({ ...SCHEMAS, ...LARGE }))
    it(what, () => {
      const fits = matcher((l) => jsonSchema(l, schema as Record<string, unknown>));
      for (const value of yes)
        for (const text of [JSON.stringify(value), JSON.stringify(value, null, 1), JSON.stringify(value, null, '\t')]) {
          const compact = typeof value === 'object' && what.startsWith('choices') ? JSON.stringify(value) : text;
          expect(fits(compact), text).toBe(true);
        }
      for (const value of no) expect(fits(JSON.stringify(value)), JSON.stringify(value)).toBe(false);
      expect(fits('') || fits('{') || fits('nul')).toBe(false);
    });

  it('what cannot be written by is refused by name', () => {
    const REFUSED: [object | boolean, RegExp][] = [
      [false, /at #: false describes nothing/],
      [{ type: 'number', minimum: 2 }, /minimum = 2 cannot be written by/],
      [{ type: 'integer', multipleOf: 2 }, /multipleOf = 2/],
      [{ type: 'object', patternProperties: {} }, /patternProperties/],
      [{ properties: { a: { not: {} } } }, /at #\/properties\/a: not = /],
      [{ type: 'text' }, /there is no type 'text'/],
      [{ $ref: 'other.json' }, /is not in this schema/],
      [{ $ref: '#/$defs/x' }, /is not there/],
      [{ enum: [] }, /enum is \[\]/],
      [{ type: 'string', format: 'hostname' }, /format 'hostname' is not known/],
      [{ type: 'string', pattern: '(?=a)' }, /looking ahead/],
      [{ type: 'array', items: false, minItems: 1 }, /no list has at least 1/],
      [{ type: 'string', pattern: 'a', maxLength: 3 }, /a length beside a pattern/],
      [{ allOf: [{ minLength: 1 }, { minLength: 2 }] }, /minLength is said more than once/],
      [{ properties: { a: {} }, required: ['b'] }, /required has 'b', which is no property/],
      [{ allOf: [{ $ref: '#' }] }, /in themselves/],
      [{ anyOf: [{ $ref: '#' }], maxLength: 2 }, /in themselves/],
      [nested(300), /more than 256 others/],
      [{ properties: properties(1025, {}) }, /1025 properties; 1024/],
    ];
    for (const [schema, text] of REFUSED)
      expect(() => {
        const l = new Language();
        const state = l.state([jsonSchema(l, schema as Record<string, unknown>)]);
        for (const byte of Buffer.from('{"a":1}')) state.after(byte)?.after(byte);
        for (const byte of Buffer.from('{"a":')) if (!state.after(byte)) break;
        let at: typeof state | undefined = state;
        for (const byte of Buffer.from('{"a":1')) at = at?.after(byte);
      }, JSON.stringify(schema)).toThrow(text);
  });
});

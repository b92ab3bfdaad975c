import { LEAST_UPPER_BOUND, originalPositionFor, TraceMap } from '@jridgewell/trace-mapping';
import { expect, it } from 'vitest';
import { type CellSyntaxError, convert } from '../../kernel/src/convert';
import { Decoder, encode } from '../../kernel/src/frames';
import { History } from '../../kernel/src/history';
import { commandAdvice, type Magic, magicOf, refuse } from '../../kernel/src/magics';
import { evaluate, newScope, withNames } from '../../kernel/src/worker/evaluate';
import { Random } from '../../src/core/random';

const AsyncFunction = (async () => {}).constructor as new (
  ...parts: string[]
) => (...given: unknown[]) => Promise<{ value: unknown } | undefined>;

/** A notebook without a kernel around it: runs cells and returns their values. */
function notebook() {
  const meta = { url: 'file:///cell.ts', filename: '/cell.ts', dirname: '/', resolve: String };
  const place = { scope: newScope(), load: async (name: string) => withNames(await import(name)), meta, ready: async () => {}, require };
  const known = new Set<string>();
  return async (source: string): Promise<unknown> => {
    const { code, names } = await convert(source, 'cell-1.ts', known);
    for (const name of names) known.add(name);
    return evaluate(code, 'cell-1.ts', place);
  };
}

it('cells keep the meaning that TypeScript gives them, across cells', async () => {
  const run = notebook();
  for (const [source, value] of [
    ['1 + 1', 2],
    ["'hello'", 'hello'],
    ["'a' + 'b'", 'ab'],
    ['({ a: 1 })', { a: 1 }],
    [
      'const a = await Promise.resolve(20); let b: number = a * 2, { c, d = 5, ...r } = { c: 3, e: 9 } as any;\n[a, b, c, d, r]',
      [20, 40, 3, 5, { e: 9 }],
    ],
    ['const a = "again"; ({ a, b })', { a: 'again', b: 40 }],
    ['function f(x: number): number { return x > 0 ? f(x - 1) + b : 0 }\nf(2)', 80],
    ['b = 100; f(1)', 100],
    ['class P { constructor(public x: number) {} static make() { return new P(3) } }\nP.make().x', 3],
    ['class P { y = 4 }; new P().y', 4],
    ['enum Colour { Red, Green }\nColour.Green', 1],
    ['namespace N { export const v = 3 }\nN.v', 3],
    ['for (var i = 0; i < 3; i++) {}\ni', 3],
    ['for (const k of [1, 2]) { var last = k }\nlast', 2],
    [
      'import { join as j } from "node:path"; import path, * as all from "node:path";\nj("a", "b") + path.sep + typeof all.join',
      'a/b/function',
    ],
    ['const { sep } = await import("node:path"); sep', '/'],
    ['let x; x', undefined],
    ['let sum = 0; for await (const n of [1, 2, Promise.resolve(3)]) sum += n;\nsum', 6],
    ['const w = async () => (await Promise.resolve(2)) * 2; (await w()) + (await await Promise.resolve(1))', 5],
    ['({ a } = { a: 7 } as any); a', 7],
    ['[a, b] = [b, a] as any; a', 100],
    ['({ a = 9 } = {} as any); a', 9],
    ['typeof missing', 'undefined'],
    ['interface I { a: string }\ntype T = I;', undefined],
    ['try { throw 1 } catch (a) { a }\na', 9],
    ['const g = function a() { return typeof a }; g()', 'function'],
    ['const { p: { q: [z = 4] = [] as number[] } } = { p: { q: undefined } } as any; z', 4],
    ['var kept = 5;', undefined],
    ['var kept; kept', 5],
    ['export const q = 1; export function h() { return q }\nh()', 1],
    ['export default class { z = 1 }', undefined],
    ['async function* gen() { yield 1 }\nfor await (const v of gen()) a = v;\na', 1],
    ['(`x` + a) as string // a comment', 'x1'],
    ['const o = { f() { return this }, a }; (o.f() as any) === o && o.a', 1],
    ['f.name; (f as any)(0) satisfies number', 0],
    ['label: for (;;) break label', undefined],
    // without semicolons, and without types: where the next line begins with a parenthesis once it is converted
    ['let bare\n[1, 2].map((n) => n)\nbare = 3\nconst twice = (n) => n * 2\ntwice(bare)\ntwice(twice(bare))', 12],
    ['const first = 1 // one\ntwice(first)', 2],
    ['import { sep as s } from "node:path"\ntwice(s.length)\nexport { s }\ntwice(2)', 4],
    ['if (bare) var deep = 1\nelse deep = 2\nfor (let i = 0, n = 2; i < n; i++) deep += i\ndeep', 2],
    ['do deep++\nwhile (deep < 9)\ntwice(deep)', 18],
    ['class Bare { a = 1\n b = twice(2)\n get() { return this.a + this.b\n } }\nnew Bare().get()', 5],
    ['twice<number>(4)', 8],
    ['{ using held = { [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() { bare = 77 } } }\nbare', 77],
    ['typeof this', 'undefined'],
    ['"use strict"', 'use strict'],
    // what esbuild calls otherwise, since it uses such names itself
    [
      'enum Promise { A }\nfunction require(x: number) { return x }\nconst exports: any = () => 5; [Promise.A, require(2), exports(), exports.name]',
      [0, 2, 5, 'exports'],
    ],
    [
      'class Marked { accessor z = 1; @((f: any) => f) m() {} }\nlet Object: any = 5; ({ Object, n: require.name })',
      { Object: 5, n: 'require' },
    ],
    ['[Promise.A, Object, require(3)]', [0, 5, 3]],
    ['// nothing', undefined],
    ['', undefined],
  ] as const)
    expect(await run(source), source).toEqual(value);
  await expect(run('(0 as any).x.y')).rejects.toThrow(TypeError);
});

it('lines stay where they are', async () => {
  for (const source of [
    "import {\n  sep,\n  join,\n} from 'node:path'\nthrow new Error('here')",
    "import {\n  sep as aSeparator, join as aJoin, resolve as aResolve, basename as aBasename, dirname as aDirname\n} from 'node:path';\n\n\nlet n: number = 1;\nthrow new Error('here')",
    "const a = {\n  b: 1,\n}\nexport {\n  a,\n}\nthrow new Error('here')",
  ]) {
    const { code, map } = await convert(source, 'cell-1.ts', new Set());
    const line = code.split('\n').findIndex((text) => text.includes('throw')) + 1;
    const found = map ? originalPositionFor(new TraceMap(map), { line, column: 0, bias: LEAST_UPPER_BOUND }).line : line;
    expect(source.split('\n')[(found ?? 0) - 1], code).toContain('throw');
  }
});

it('open code is told from wrong code', async () => {
  const says = (source: string) =>
    convert(source, 'cell-1.ts', new Set()).then(
      () => 'complete',
      (error: CellSyntaxError) => (error.incomplete ? 'incomplete' : 'invalid'),
    );
  for (const open of ['function f(', '`abc', 'if (true) {', '/* open', 'f(1,', '1 +', 'let y = ', 'class A {', 'const a = [1,'])
    expect(await says(open), open).toBe('incomplete');
  for (const wrong of ['const = 5', '"abc', 'let let = 1', ')', 'a b', 'class { }']) expect(await says(wrong), wrong).toBe('invalid');
});

it('any text is converted or refused with a place, never anything else', async () => {
  const random = Random.seeded(5);
  const pieces = [
    'const a',
    ' = ',
    '{',
    '}',
    '(',
    ')',
    '`',
    '${',
    "'",
    'await ',
    'a',
    '.b',
    ';',
    '\n',
    '=>',
    'import ',
    'from "x"',
    'export ',
    'class ',
    'enum E',
    '/*',
    '//',
    '<T>',
    ' as any',
    '@',
    '#',
    '🙂',
    '\\',
    'for (',
    'of ',
    '...',
    '?.',
    '0x',
    '%',
    'yield ',
    'async ',
  ];
  for (let i = 0; i < 1500; i++) {
    const source = Array.from(
      { length: 1 + Math.floor(random.uniform() * 12) },
      () => pieces[Math.floor(random.uniform() * pieces.length)],
    ).join('');
    const outcome = await convert(source, 'cell-1.ts', new Set(['a'])).catch((error) => error);
    if (outcome instanceof Error)
      expect(outcome, source).toMatchObject({ name: 'SyntaxError', line: expect.any(Number), incomplete: expect.any(Boolean) });
    else expect(() => new AsyncFunction(outcome.code), source).not.toThrow();
  }
});

it('frames come out as they went in, however the stream is cut', () => {
  const random = Random.seeded(3);
  const frames = Array.from({ length: 200 }, (_, i) => ({
    type: 'x',
    text: 'é🙂'.repeat(i % 7),
    ...(i % 3 ? {} : { buffers: [Buffer.alloc(i, i), Buffer.alloc(0)] }),
  }));
  const bytes = Buffer.concat(frames.map((frame) => encode(frame)));
  const decoder = new Decoder();
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const size = Math.ceil(random.uniform() * 300);
    found.push(...decoder.push(bytes.subarray(at, at + size)));
    at += size;
  }
  expect(found).toEqual(frames);
});

it('history gives the tail, a range, or what matches', () => {
  const history = new History();
  for (const [i, source] of ['a = 1', 'b = 2', 'a = 1', 'c?'].entries()) history.add(i + 1, source);
  expect(history.find({ hist_access_type: 'tail', n: 2 }).map((e) => e[1])).toEqual([3, 4]);
  expect(history.find({ hist_access_type: 'range', start: 2, stop: 4 }).map((e) => e[1])).toEqual([2, 3]);
  expect(history.find({ hist_access_type: 'search', pattern: '* = *', unique: true }).map((e) => e[1])).toEqual([2, 3]);
  expect(history.find({ hist_access_type: 'tail', n: 1, output: true })).toEqual([[1, 4, ['c?', null]]]);
});

it('what begins as TypeScript is no magic', async () => {
  for (const source of [
    '!isNaN(5)',
    '!done',
    '!done ? 1 : 2',
    '!(1 > 2) && true',
    '!!names.length',
    '![1].length',
    '!/a b/.test("x")',
    '!"a"',
    '!await f()',
    '!new Set().size',
    '!a.b.c',
    '!a!.b',
    '!a || b',
    '!ls -l', // which the type checker tells more of
    '!function () { return 1 }()',
    '!isNaN(', // which is open
    '!done;\nlet',
    'a % b',
    'a\n%b',
    '`\n%npm install x`',
    '// %npm install x',
    '/* !ls\n%time */ 1',
    '% 5',
    '?x',
    'x?',
    '',
    '// only a comment',
    '/* open',
  ])
    expect(await magicOf(source), source).toBeUndefined();
});

it('magics are found before all code of a cell, and leave it where it stands', async () => {
  for (const [source, name, argument, rest] of [
    ['%npm install left-pad\nnext', '%npm', 'install left-pad', '                     \nnext'],
    ['%npm install a # for the plot', '%npm', 'install a', ' '.repeat(29)],
    ['%npm install a@1 "b" // for the plot', '%npm', 'install a@1 "b"', ' '.repeat(36)],
    ['%npm install https://x.org/a#b', '%npm', 'install https://x.org/a#b', ' '.repeat(30)],
    ['// first of all\n%npm install x', '%npm', 'install x', '// first of all\n              '],
    ['/* a\nb */ // c\n\n  %reset\n1', '%reset', '', '/* a\nb */ // c\n\n        \n1'],
    ['\ufeff%reset\r\n1', '%reset', '', '\ufeff      \r\n1'],
    ['%time f(1)\ng()', '%time', 'f(1)', '      f(1)\ng()'],
    ['%time\n// @ts-nocheck\nx', '%time', '', '     \n// @ts-nocheck\nx'], // Reason: a reader's cell, as input; nothing of ours is silenced.
    ['%%time\nx', '%%time', '', '      \nx'],
    ['!npm install x\n1', '!npm install x', '', '              \n1'],
    ['!cd a && ls', '!cd a && ls', '', ' '.repeat(11)],
    ['!./run.sh now', '!./run.sh now', '', ' '.repeat(13)],
    ['// list\n!cat x.txt | head', '!cat x.txt | head', '', `// list\n${' '.repeat(17)}`],
  ])
    expect(await magicOf(source), source).toEqual({ name, argument, rest });
  const refused = async (source: string) => refuse((await magicOf(source)) as Magic);
  expect(await refused('%pip install x')).toMatch(/%pip is not a magic.*%npm install/);
  expect(await refused('!cat a b')).toMatch(/execSync\("cat a b"\)/);
  expect(commandAdvice('1\n!ls -l', { line: 2, column: 2, text: "Cannot find name 'ls'." })).toContain('execSync("ls -l")');
  expect(commandAdvice('!ok && ls', { line: 1, column: 8, text: "Cannot find name 'ls'." })).toBe('');
});

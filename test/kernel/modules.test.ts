import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { build } from 'esbuild';
import { expect, it } from 'vitest';
import { convert } from '../../kernel/src/convert';
import { LocalModules } from '../../kernel/src/local';
import { evaluate } from '../../kernel/src/worker/evaluate';
import { Modules } from '../../kernel/src/worker/modules';
import { scratch } from '../tiny';

const FILES: Record<string, string> = {
  'counter.ts': `
    export let count = 0; export function inc() { return ++count }
    export default 'first'; export const enum Size { S = 1, L = 5 } export interface Shape { a: number }
    out('counter runs');`,
  'through.ts': `
    import { count, inc as more } from './counter.js'; import * as all from './counter';
    export { count, Size } from './counter.ts'; export * from './counter'; export * as counter from './counter';
    export { default as word } from './counter'; export type { Shape } from './counter';
    export const twice = () => { more(); more(); return [count, all.count] };`,
  'mapped.mts': 'export const from = "mts"',
  'common.cts': 'import path = require("node:path"); export = { sep: path.sep, n: 1 }',
  'view.tsx': 'const React = { createElement: (...a: any[]) => a }; export const made = <b id="x">text</b>; export type P = { a: 1 }',
  'script.jsx': 'const React = { createElement: (...a) => a }; export default () => <i/>',
  'folder/index.ts': 'import { up } from ".."; export const inside = () => up + 1; export default class Inner {}',
  'index.ts': 'export const up = 1; export { inside } from "./folder"',
  'a.mjs': `
    import { b, late } from './b.mjs'; out('a runs'); export const a = b + 1; export function fromA() { return [a, late()] }
    export class A { static of() { return new A() } }`,
  'b.mjs': `
    import { a, fromA, A } from './a.mjs'; out('b runs', typeof fromA);
    try { out(a) } catch (error) { out(error.name) }
    export const b = 1; export const late = () => [a, A.of()];`,
  'fails.mjs': 'import "./b.mjs"; throw new RangeError("it fails")',
  'self.ts': 'import * as self from "./self"; export const x = 1; export const same = () => self.x',
  'waits.ts': 'export const value = await new Promise<number>((resolve) => setTimeout(() => resolve(4), 5)); out("waited")',
  'two.ts': 'import { value } from "./waits"; export const doubled = value * 2',
  'unused.ts': 'import { Shape } from "./counter"; import type { P } from "./view"; export const s: Shape = { a: 1 }; export { Shape }',
  'only.d.ts': 'export interface Only { a: 1 }',
  'names.ts': 'const odd = 1; export { odd as "a name", odd as if, odd as default }',
  'data.json': '{ "k": [1, 2], "n": null }',
  'list.json': '[1, 2]',
  'plain.js': 'export const js = "esm"; export { count } from "./counter.js"',
  'old.cjs': 'exports.n = 1; exports.more = () => ++exports.n; exports.deep = require("./deeper.cjs")',
  'deeper.cjs': 'module.exports = "deep"',
  'untold.js': 'module.exports = class Told { static s = 1 }',
  'dynamic.ts':
    'export const load = async (name: string) => Object.keys(await import(name)); export const later = () => import("./mapped.mjs")',
  'destructured.ts':
    'export const { x, y: [z = 3] } = { x: 1, y: [] as number[] }; export let m = 1, n = 2; export function* g() { yield m }; m = 5',
  'held.ts': 'using r = { [Symbol.dispose]() { out("let go") } }; export const open = 1; out("held")',
};

const CASES: [string, string][] = [
  ['named, live', "import { count, inc } from './counter.ts'; inc(); inc(); out(count)"],
  ['renamed and default', "import word, { count as n, inc as up } from './counter'; up(); out(word, n)"],
  ['all of it, live', "import * as c from './counter'; c.inc(); out(c.count, Object.keys(c).sort(), c.default, 'inc' in c)"],
  ['through others', "import { count, twice, counter, inc, word } from './through'; inc(); out(twice(), count, counter.count, word)"],
  [
    'one instance',
    "import { inc } from './counter.js'; import { count } from './through'; import { inc as same } from './counter'; inc(); out(count, same === inc)",
  ],
  ['enums', "import { Size } from './through'; out(Size.L)"],
  [
    'types among values',
    "import { type Shape, count } from './counter'; import { Shape as S2 } from './counter'; const s: Shape & S2 = { a: 1 }; out(s, count)",
  ],
  [
    'only types',
    "import type { Shape } from './counter'; import { Only } from './only'; import { type Only as O } from './only.d.ts'; out(1)",
  ],
  ['endings', "import { from } from './mapped.mjs'; import { made } from './view.jsx'; import i from './script'; out(from, made, i())"],
  ['commonjs in TypeScript', "import common, { sep } from './common.cjs'; out(common, sep)"],
  [
    'folders',
    "import Inner, { inside } from './folder'; import { up } from '.'; import { inside as too } from './folder/index.js'; out(inside(), up, too(), Inner)",
  ],
  ['itself', "import { same } from './self'; out(same())"],
  ['waiting', "import { doubled } from './two'; out(doubled); out((await import('./waits')).value)"],
  ['what is not used', "import { s } from './unused'; out(s)"],
  ['odd names', "import one, { 'a name' as two, if as three } from './names'; out(one, two, three)"],
  [
    'json',
    "import data from './data.json' with { type: 'json' }; import same, { k } from './data.json'; import list from './list.json'; out(data, same, k, list)",
  ],
  ['JavaScript', "import { js, count } from './plain.js'; import { inc } from './counter'; inc(); out(js, count)"],
  ['CommonJS', "import old, { n, more } from './old.cjs'; more(); out(old.n, n, old.deep)"],
  ['CommonJS without names', "import Told from './untold'; out(Told.s, new Told())"],
  ['import()', "const { load, later } = await import('./dynamic'); out((await later()).from, Object.keys(await import('./mapped.mts')))"],
  ['what is taken apart', "import { x, z, m, n, g } from './destructured'; out(x, z, m, n, [...g()])"],
  ['using', "import { open } from './held'; out(open)"],
  ['no name', "import './counter'; import {} from './b.mjs'; out('here')"],
  ['a call is no method', "import { inc } from './through'; import * as c from './counter'; const o = { inc }; out(o.inc(), c.inc())"],
  [
    'a new name in the cell',
    "import { count } from './counter'; { const count = 7; out(count) } ((count) => out(count))(8); out({ count })",
  ],
];

/** The same without types, which Node.js runs as it is: a bundle has no ReferenceErrors for what is used too early. */
const PLAIN: [string, string][] = [
  ['cycles', "import { fromA } from './a.mjs'; import { late } from './b.mjs'; out(fromA(), late())"],
  ['the other way round', "import { late } from './b.mjs'; import * as a from './a.mjs'; out(late(), a.a, a.A.name)"],
  ['failing', "import './fails.mjs'"],
  ['failing late', "await import('./fails.mjs').catch((error) => out(error.message))"],
  ['shown', "await import('./a.mjs'); import * as b from './b.mjs'; out({ b }, String(b), Object.keys(b))"],
];

function write(folder: string, files = FILES): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

/** What each cell says when Node.js runs all of it as esbuild puts it together. */
async function bundled(folder: string): Promise<string[][]> {
  const to = scratch('bundles');
  for (const [i, [, contents]] of CASES.entries())
    await build({
      stdin: { contents, resolveDir: folder, loader: 'ts' },
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      keepNames: true,
      outfile: join(to, `${i}.mjs`),
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
      logLevel: 'silent',
    });
  const program = `
    import { inspect } from 'node:util';
    const all = [];
    for (let i = 0; i < ${CASES.length}; i++) {
      const said = [];
      globalThis.out = (...values) => said.push(...values.map((value) => inspect(value)));
      await import('./' + i + '.mjs').catch((error) => said.push(String(error)));
      all.push(said);
    }
    process.stdout.write(JSON.stringify(all));`;
  writeFileSync(join(to, 'main.mjs'), program);
  return JSON.parse(execFileSync(process.execPath, [join(to, 'main.mjs')], { encoding: 'utf8' }));
}

/** Runs cells in a folder. */
async function notebook(folder: string) {
  const files = new LocalModules(folder);
  const modules = new Modules(folder, (from, specifier) => files.load(from, specifier), {});
  const place = modules.place(join(folder, 'cell.ts'));
  const known = new Set<string>();
  return async (source: string): Promise<string[]> => {
    const said: string[] = [];
    Object.assign(globalThis, { out: (...values: unknown[]) => said.push(...values.map((value) => inspect(value))) });
    const { code, names } = await convert(source, 'cell-1.ts', known);
    for (const name of names) known.add(name);
    await evaluate(code, 'cell-1.ts', place).catch((error) => said.push(String(error)));
    return said;
  };
}

it('imports are what they are in a module: live, from one instance of each file', async () => {
  const folder = scratch('modules');
  write(folder);
  const expected = await bundled(folder);
  for (const [i, [name, source]] of CASES.entries()) expect(await (await notebook(folder))(source), name).toEqual(expected[i]);
});

it('files that import each other are run in the order of Node.js, with what it has by then', async () => {
  const folder = scratch('modules');
  write(folder);
  for (const [name, source] of PLAIN) {
    const program = `import { inspect } from 'node:util'; const said = []; globalThis.out = (...values) => said.push(...values.map((value) => inspect(value)));
      await import('./cell.mjs').catch((error) => said.push(String(error))); process.stdout.write(JSON.stringify(said))`;
    write(folder, { 'cell.mjs': source });
    const expected = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', cwd: folder });
    expect(await (await notebook(folder))(source), name).toEqual(JSON.parse(expected));
  }
});

it('require() takes TypeScript too, and reads anew what has changed', async () => {
  const folder = scratch('modules');
  write(folder, {
    'data.json': FILES['data.json'],
    'one.ts':
      'import { two } from "./two.js"; const n: number = two; export = { n, all: require("./two.js"), again: () => require("./two.js").count++ }',
    'two.cts': 'export enum Two { A = 2 } export const two = Two.A; export let count = 0',
    'two.js': 'exports.two = 3; exports.count = 0; exports.from = require("./three")',
    'three.ts': 'export default await0(); function await0() { return "three" }',
    'ring.ts': 'exports.early = 1 as number; exports.seen = require("./ring2").late',
    'ring2.ts': 'exports.late = require("./ring").early + 1',
  });
  const run = await notebook(folder);
  expect(await run("const { n, again } = require('./one'); out(n, again(), again(), require('./two.js').count)")).toEqual([
    '3',
    '0',
    '1',
    '2',
  ]);
  expect(await run("out(require('./two.cjs'), require('./two.js').from.default)")).toEqual([
    '{ Two: [Getter], count: [Getter], two: [Getter] }',
    "'three'",
  ]);
  expect(
    await run(
      "out(require('./ring').seen, require('./data.json').k, require('node:path').sep, require.resolve('./two.js').endsWith('two.js'))",
    ),
  ).toEqual(['2', '[ 1, 2 ]', "'/'", 'true']);
  expect(await run("out(require('./two.js').count)")).toEqual(['2']);
  write(folder, { 'three.ts': 'export default 4 as number' });
  expect(await run("out(require('./two.js').count, require('./one').all.from.default)")).toEqual(['0', '4']);
  expect((await run("require('./missing')"))[0]).toMatch(/Cannot find module/);
});

it('a file that has changed is read anew with those that import it, and others stay as they are', async () => {
  const folder = scratch('modules');
  write(folder);
  const run = await notebook(folder);
  expect(await run("import { count, inc } from './counter'; inc(); out(count)")).toEqual(["'counter runs'", '1']);
  expect(await run("import { twice } from './through'; out(twice(), count)")).toEqual(['[ 3, 3 ]', '3']);
  expect(await run("import { doubled } from './two'; import { n } from './old.cjs'; out(doubled, n)")).toEqual(["'waited'", '8', '1']);
  write(folder, { 'counter.ts': 'export let count = 10; export const inc = () => ++count;', 'deeper.cjs': 'module.exports = "deeper"' });
  expect(await run("import { twice } from './through'; out(twice(), count)")).toEqual(['[ 12, 12 ]', '3']);
  expect(await run("import { doubled } from './two'; import old from './old.cjs'; out(doubled, old.deep)")).toEqual(['8', "'deeper'"]);
  expect(await run("import { count } from './counter'; out(count)")).toEqual(['12']);
  expect(await run("import { count } from './counter'; const inc = 5; out(inc, count)")).toEqual(['5', '12']);
  write(folder, { 'counter.ts': 'export const count = (;' });
  expect((await run("import { count } from './counter'"))[0]).toMatch(/^SyntaxError: .*counter\.ts:1: Unexpected ";"/);
  write(folder, { 'counter.ts': 'throw new Error("while it runs")' });
  expect(await run("import { twice } from './through'")).toEqual(['Error: while it runs']);
  write(folder, { 'counter.ts': 'export const count = 20, inc = () => 0; export const enum Size { S } export default 1' });
  expect(await run("import { twice } from './through'; out(twice())")).toEqual(['[ 20, 20 ]']);
  rmSync(join(folder, 'counter.ts'));
  expect((await run("import { count } from './counter'"))[0]).toMatch(/Cannot find module/);
  expect(await run("import data from './data.json'; out(data.n)")).toEqual(['null']);
  write(folder, { 'data.json': '\ufeff{"n": 2}' });
  expect(await run("import data from './data.json'; out(data.n)")).toEqual(['2']);
  write(folder, { 'data.json': '{"n": ' });
  expect((await run("import data from './data.json'; out(data.n)"))[0]).toMatch(/SyntaxError: .*data\.json is no JSON/);
});

it('what a module does not have is said where a value is made use of, and nowhere else', async () => {
  const folder = scratch('modules');
  write(folder);
  write(folder, {
    'node_modules/types-only/package.json': '{ "name": "types-only", "version": "1.0.0", "types": "index.d.ts" }',
    'node_modules/types-only/index.d.ts': 'export interface Foo { a: number } export declare const value: number;',
    'node_modules/types-only/sub.d.ts': 'export type Bar = 1',
    'node_modules/@types/untyped/package.json': '{ "name": "@types/untyped", "version": "1.0.0", "main": "", "types": "index.d.ts" }',
    'node_modules/@types/untyped/index.d.ts': 'export interface Foo { a: number }',
    'node_modules/exports-types/package.json':
      '{ "name": "exports-types", "exports": { ".": { "types": "./x.d.ts" } }, "types": "x.d.ts" }',
    'node_modules/exports-types/x.d.ts': 'export type X = 1',
    'node_modules/common/package.json': '{ "name": "common", "main": "main.js" }',
    'node_modules/common/main.js': 'const made = { late: 5 }; module.exports = made; for (const name of ["hidden"]) made[name] = 6;',
  });
  const run = await notebook(folder);
  expect(
    await run(
      "import { Foo } from 'types-only'; import { Foo as F } from 'untyped'; import { X } from 'exports-types'; const f: Foo & F = { a: 1 }; out(f)",
    ),
  ).toEqual(['{ a: 1 }']);
  expect(
    await run(
      "import { Bar } from 'types-only/sub'; import { type Foo as F3 } from 'types-only'; import type { Foo as F4 } from 'types-only'; out(1)",
    ),
  ).toEqual(['1']);
  expect(await run('export { Foo }')).toEqual([]);
  expect((await run("import { value } from 'types-only'; out(value)"))[0]).toMatch(/'types-only' declares types and has no code/);
  expect((await run("import 'types-only'"))[0]).toMatch(/'types-only' declares types and has no code/);
  expect((await run("import { nothing } from './counter'; out(nothing)")).at(-1)).toMatch(
    /SyntaxError: '.\/counter' exports no 'nothing'; it exports Size, count, default, inc/,
  );
  expect(await run("import { nothing } from './counter'; type N = nothing")).toEqual([]);
  expect((await run("import { nothing } from 'node:path'; nothing"))[0]).toMatch(/SyntaxError: 'node:path' exports no 'nothing'/);
  expect(await run("import { late, hidden } from 'common'; import * as all from 'common'; out(late, hidden, all.hidden)")).toEqual([
    '5',
    '6',
    '6',
  ]);
  expect(await run("import about from 'common/package.json' with { type: 'json' }; const main: string = about.main; out(main)")).toEqual([
    "'main.js'",
  ]);
  expect(await run("out((await import('./data.json', { with: { type: 'json' } })).default.n as null)")).toEqual(['null']);
  expect((await run("import { x } from 'no-such'; x"))[0]).toMatch(/There is no package 'no-such' here.*%npm install no-such/);
});

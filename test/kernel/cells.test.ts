import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { transform } from 'esbuild';
import { beforeAll, expect, it } from 'vitest';
import { convert } from '../../kernel/src/convert';
import { evaluate, newScope, type Scope, withNames } from '../../kernel/src/worker/evaluate';
import { scratch } from '../tiny';

const conversions = new Map<string, ReturnType<typeof convert>>();

/** A notebook without a kernel around it. What a cell gives to `out` is what it says; and how it failed. */
function notebook() {
  const said: string[] = [];
  const scope: Scope = newScope();
  const require_ = (name: string) => process.getBuiltinModule?.(name) ?? require(name);
  const meta = { url: 'file:///cell.ts', filename: '/cell.ts', dirname: '/', resolve: String };
  const place = {
    scope,
    load: async (name: string) => withNames(await import(name)),
    meta,
    ready: async () => {},
    require: require_ as NodeJS.Require,
  };
  const known = new Set<string>();
  const run = async (source: string): Promise<unknown> => {
    Object.assign(globalThis, { out: (...values: unknown[]) => said.push(...values.map((value) => inspect(value))) });
    const key = [source, ...known].join('\0');
    const converted = conversions.get(key) ?? convert(source, 'cell-1.ts', known);
    conversions.set(key, converted);
    const { code, names } = await converted;
    for (const name of names) known.add(name);
    try {
      return await evaluate(code, 'cell-1.ts', place);
    } catch (error) {
      said.push(String(error));
    }
  };
  return { run, said, scope };
}

const REQUIRE = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** What each text says, run as a module by Node.js. */
async function asModules(texts: string[]): Promise<string[][]> {
  const folder = scratch('modules');
  const options = {
    loader: 'ts',
    format: 'esm',
    target: 'node20',
    keepNames: true,
    tsconfigRaw: { compilerOptions: { target: 'es2022' } },
  } as const;
  for (const [i, text] of texts.entries())
    writeFileSync(join(folder, `${i}.mjs`), REQUIRE + (await transform(`${text}\nexport {};`, options)).code);
  const program = `
    import { inspect } from 'node:util';
    const all = [];
    for (let i = 0; i < ${texts.length}; i++) {
      const said = [];
      globalThis.out = (...values) => said.push(...values.map((value) => inspect(value)));
      await import('./' + i + '.mjs').catch((error) => said.push(String(error)));
      all.push(said);
    }
    process.stdout.write(JSON.stringify(all));`;
  writeFileSync(join(folder, 'main.mjs'), program);
  return JSON.parse(execFileSync(process.execPath, [join(folder, 'main.mjs')], { encoding: 'utf8' }));
}

/** Declarations of `it`, and what makes a value of it. `top`: only there. */
const FORMS: { declare: string; use: string; top?: boolean }[] = [
  { declare: 'const it = 1', use: 'it' },
  { declare: 'let it: number = 2', use: 'it' },
  { declare: 'var it = 3 as number', use: 'it' },
  { declare: 'let it; it = 4', use: 'it' },
  { declare: 'const it = (x: number) => x + 1', use: '[it, it.name, it(1)]' },
  { declare: 'let it = function () { return typeof it }', use: '[it, it.name, it()]' },
  { declare: 'const it = class { a = 1 }', use: '[it, it.name, new it().a]' },
  { declare: 'let it: any; it ??= async () => 5', use: '[it, await it()]' },
  { declare: 'const it = class { static name = "own" }', use: 'it.name' },
  { declare: 'function it(a: string): string; function it(a: number): number; function it(a: any) { return a }', use: '[it, it(6)]' },
  { declare: 'async function it(n: number): Promise<number> { return n ? it(n - 1) : 7 }', use: '[it, await it(2)]' },
  { declare: 'function* it() { yield 8; yield* [9] }', use: '[it, ...it()]' },
  { declare: 'async function* it() { yield 10 }', use: '[it, await it().next()]' },
  { declare: 'class it { static n = 1; #p = 2; static make() { return new it().#p } }', use: '[it, it.make(), it.n]' },
  {
    declare: 'class it<T> { constructor(private readonly x: T, public y?: T) {} get z() { return this.x } }',
    use: '[new it(3), new it(4).z]',
  },
  {
    declare: 'abstract class it { abstract a(): number; static of() { return new (class extends it { a() { return 1 } })().a() } }',
    use: '[it, it.of()]',
  },
  { declare: 'class it { accessor a = 1; static { this.prototype.b = 2 } declare b: number }', use: '[new it().a, new it().b]' },
  {
    declare: 'const log: any = (c: any, { name }: any) => { out(name) }; @log class it { @log m() { return 1 } @log accessor q = 2 }',
    use: '[new it().m(), new it().q]',
    top: true,
  },
  { declare: 'enum it { A, B = 5, C }', use: '[it, it.C, it[5]]' },
  { declare: 'const enum it { A = 1 << 3, S = "s" }', use: '[it.A, it.S]' },
  { declare: 'enum it { A }; enum it { B = 1 }', use: 'it', top: true },
  { declare: 'namespace it { export const v = 3; export function f() { return v } }', use: '[it.v, it.f()]', top: true },
  { declare: 'namespace it.inner { export let v = 4 }', use: 'it.inner.v', top: true },
  { declare: 'namespace it { export const a = 1 } namespace it { export const b = a + 1 }', use: 'it', top: true },
  { declare: 'function it() { return it.x } namespace it { export const x = 5 }', use: 'it()', top: true },
  { declare: 'class it { n = 1 } namespace it { export const x = 6 }', use: '[new it(), it.x]', top: true },
  { declare: 'import it = require("node:path")', use: 'it.sep', top: true },
  { declare: 'namespace N { export const M = 7 } import it = N.M', use: 'it', top: true },
  { declare: 'import { sep as it } from "node:path"', use: 'it', top: true },
  { declare: 'import it from "node:path"', use: 'it.sep', top: true },
  { declare: 'import * as it from "node:path"', use: 'it.sep', top: true },
  { declare: 'import { type ParsedPath, sep as it } from "node:path"; import type * as P from "node:path"', use: 'it', top: true },
  { declare: 'export const it = 8', use: 'it', top: true },
  { declare: 'export default class it { a = 9 }', use: '[it, new it()]', top: true },
  { declare: 'export default function it() { return 1 }', use: '[it, it()]', top: true },
  { declare: 'const x1 = 1; export { x1 as it0 }; export * from "node:path"; export const it = x1', use: 'it', top: true },
  { declare: 'const { it } = { it: 10 }', use: 'it' },
  { declare: 'let { a: [, { it = () => 11 }] } = { a: [0, {}] } as any', use: '[it, it()]' },
  { declare: 'var [it = class {}, ...others] = [] as any[]', use: '[it, others]' },
  { declare: 'let { x: x2, ...it } = { x: 1, y: 2 }', use: 'it' },
  { declare: 'for (var it = 0; it < 3; it++);', use: 'it' },
  { declare: 'for (var it of [1, 2]) if (it) continue', use: 'it' },
  { declare: 'for (var it in { k: 1 }) ;', use: 'it' },
  { declare: 'for (var { it = 5 } of [{}] as any) ;', use: 'it' },
  { declare: 'for await (var it of [Promise.resolve(3)]) ;', use: 'it' },
  { declare: 'if (true) { var it = 12 }', use: 'it' },
  { declare: 'try { throw 13 } catch (e) { var it = e } finally { it++ }', use: 'it' },
  { declare: 'switch (1 as number) { case 1: { var it = 14; break } default: it = 0 }', use: 'it' },
  { declare: 'label: { var it = 15; break label }', use: 'it' },
  { declare: 'const it = { a: 1 } satisfies object as const', use: 'it' },
  { declare: 'const it = <T,>(x: T): x is T & string => typeof x === "string"', use: '[it, it(1)]' },
  { declare: 'using it = { [Symbol.dispose]() { out("gone") } }', use: 'typeof it', top: true },
  { declare: 'interface it { a: 1 } type it2 = it; const it = { a: 1 }', use: 'it' },
  { declare: 'declare const nothing: number; type it = string; var it = "both"', use: 'it' },
  { declare: 'let f = () => it, it = 16', use: 'f()' },
  { declare: 'let it = 1; { let it = 2; it++ } ((it) => it)(3); it += 4', use: 'it' },
  {
    declare: 'let it = 1; const by = () => ({ it, [it + "!"]: it, m() { return it }, get g() { return it } }); it = 17',
    use: '[by(), by().m(), by().g]',
  },
  { declare: 'let it = 0; [it] = [1]; ({ it } = { it: it + 1 }); ({ a: it = 9 } = {} as any); it ||= 1; it **= 2; it++', use: 'it' },
  { declare: 'const tag = (s: any, ...v: any[]) => s.raw.join("|") + v; const it = tag`ab`', use: 'it' },
  { declare: 'const o2 = { it() { return this === o2 } }; const { it } = o2', use: '[it(), o2.it()]' },
  { declare: 'function it() { return this }', use: 'it()' },
  {
    declare: 'let it = 1; const f2 = (n: number) => { let own = n; eval("own++; it += own; var lost = 1"); return [own, typeof lost] }',
    use: '[f2(4), it, eval("it + 1"), (0, eval)("typeof it")]',
  },
  { declare: 'const it = await Promise.all([1, (async () => await 2)()])', use: 'it' },
  { declare: 'let it: any = () => 0; it = function () { return new.target }', use: 'new it() && it.name' },
];

const CONTEXTS: [string, (declare: string, use: string) => string][] = [
  ['a block', (d, u) => `{ ${d}\n out(${u}) }`],
  ['a block in a block', (d, u) => `{ { ${d}\n out(${u}) } }`],
  ['if', (d, u) => `if (true) { ${d}\n out(${u}) } else { out(0) }`],
  ['for', (d, u) => `for (const turn of [1, 2]) { ${d}\n out(turn, ${u}) }`],
  ['while', (d, u) => `let turns = 0; while (turns++ < 2) { ${d}\n out(${u}) }`],
  ['switch', (d, u) => `switch (1 as number) { case 0: out(0); case 1: ${d}\n out(${u}) }`],
  ['try', (d, u) => `try { ${d}\n out(${u}); throw 1 } catch { ${d}\n out(${u}) } finally { ${d}\n out(${u}) }`],
  ['a label', (d, u) => `place: { ${d}\n out(${u}); break place }`],
  ['a function', (d, u) => `await (async () => { ${d}\n out(${u}) })()`],
];

const local = FORMS.filter(({ top }) => !top);
let atTop: string[][];
let within: string[][];
beforeAll(async () => {
  const tops = FORMS.map(({ declare, use }) => `${declare}\nout(${use})`);
  const contexts = local.flatMap(({ declare, use }) => CONTEXTS.map(([, put]) => `${put(declare, use)}\nout(typeof it)`));
  const all = await asModules([...tops, ...contexts]);
  atTop = all.slice(0, tops.length);
  within = all.slice(tops.length);
});

it('what a cell declares is what the same text declares as a module: in this cell, in the next one, and where it was something else', async () => {
  for (const [i, { declare, use }] of FORMS.entries()) {
    const same = notebook();
    await same.run(`${declare}\nout(${use})`);
    expect(same.said, declare).toEqual(atTop[i]);
    if (/^using/.test(declare)) continue; // it is gone in the next cell
    const next = notebook();
    await next.run(declare);
    await next.run(`out(${use})`);
    expect(next.said, declare).toEqual(atTop[i]);
    for (const before of FORMS) {
      const again = notebook();
      await again.run(before.declare);
      again.said.length = 0;
      await again.run(declare);
      await again.run(`out(${use})`);
      expect(again.said, `${before.declare}\n--\n${declare}`).toEqual(atTop[i]);
    }
  }
});

it("what stands in a block is the block's, and does not touch what a cell before called so", async () => {
  let i = 0;
  for (const { declare, use } of local)
    for (const [name, put] of CONTEXTS) {
      const expected = within[i++];
      const cell = notebook();
      await cell.run(put(declare, use));
      await cell.run('out(typeof it)');
      expect(cell.said, `${name}: ${declare}`).toEqual(expected);
      if (expected.at(-1) !== "'undefined'") continue;
      const after = notebook();
      await after.run('const it = "before"');
      await after.run(put(declare, use));
      await after.run('out(it)');
      expect(after.said, `${name}: ${declare}`).toEqual([...expected.slice(0, -1), "'before'"]);
    }
});

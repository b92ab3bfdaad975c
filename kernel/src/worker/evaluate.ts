import { Script } from 'node:vm';
import { Held } from './held';

/** The names of one notebook, or what one file imports. */
export type Scope = Record<string, unknown>;
export type Module = Record<string, unknown>;
/** import() from a certain place. */
export type Load = (specifier: string, options?: object) => Promise<Module>;

/** Where code runs: what it finds there without having declared it. */
export interface Place {
  scope: Scope;
  load: Load;
  meta: { url: string; dirname: string; filename: string; resolve(specifier: string): string };
  /** Makes `meta` ready. */
  ready(): Promise<unknown>;
  require: NodeJS.Require;
}

/** What converted code uses; ../convert.ts. */
const PARAMETERS =
  '__scope, __of, __import, __link, __export, __use, __meta, __await, __iterate, require, module, exports, __filename, __dirname';

type Body = (...given: unknown[]) => Promise<{ value: unknown } | undefined>;

function compile(code: string, file: string): Body {
  const head = `(async function (${PARAMETERS}) {`;
  return new Script(`${head}${code}\n})`, { filename: file, columnOffset: -head.length }).runInThisContext() as Body;
}

/** Nothing is in it at first. V8 would make a slow dictionary of Object.create(null); loops over a cell's names then take 20 times as long. */
export const newScope = (): Scope => new (Nothing as unknown as new () => Scope)();
function Nothing() {}
Nothing.prototype = Object.create(null);

export type Waits = [(value: unknown) => unknown, (values: AsyncIterable<unknown>) => AsyncIterable<unknown>];
const through: Waits = [(value) => value, (values) => values];

interface Options {
  /** What is told of exports: functions that give their values, or a module all of whose names are exported. */
  give?: (values: Record<string, () => unknown>, all?: Module) => void;
  /** __await and __iterate. */
  waits?: Waits;
  /** What `using` holds until the end. */
  held?: Held;
}

/** Runs converted code to its end, and resolves with its value. */
export async function evaluate(code: string, file: string, place: Place, options: Options = {}): Promise<unknown> {
  const { give = () => {}, waits = through, held = new Held() } = options;
  const { scope, load, meta } = place;
  const module = { exports: {} };
  const own = [scope, of(scope), load, link(scope, load), give, held.use, meta, ...waits];
  const nodes = [place.require, module, module.exports, meta.filename, meta.dirname];
  if (code.includes('__meta')) await place.ready();
  let result: { value: unknown } | undefined;
  try {
    result = await compile(code, file)(...own, ...nodes);
  } catch (error) {
    await held.release({ error });
  }
  await held.release();
  return result?.value;
}

/** Where a name is that the code does not declare. `asked`: by typeof, which needs none. */
const of = (scope: Scope) => (name: string, asked?: true) => {
  if (name in scope) return scope;
  if (asked || name in globalThis) return globalThis;
  throw new ReferenceError(`${name} is not defined`);
};

/** A package of types, without code. */
export class TypesOnly extends Error {
  override name = 'ImportError';
}

/** Modules that are still being evaluated, since a module that they import imports them. */
export const unfinished = new WeakSet<Module>();

/** `names`: [local name, name in the module or *, whether the code uses its value] */
const link = (scope: Scope, load: Load) => async (specifier: string, names: [string, string, boolean?][], options?: object) => {
  const module = await load(specifier, options).catch((error) => {
    if (error instanceof TypesOnly && names.length && !names.some(([, , needed]) => needed)) return {};
    throw error;
  });
  for (const [local, name, needed] of names)
    if (name === '*') scope[local] = module;
    else {
      const from = holder(module, name);
      if (!from && needed && !unfinished.has(module))
        throw new SyntaxError(
          `'${specifier}' exports no '${name}'; it exports ${Object.keys(module).slice(0, 30).join(', ') || 'nothing'}.`,
        );
      bind(scope, local, from ?? module, name);
    }
};

/** An import: it has the value that the module gives it, until a cell declares its name anew. */
function bind(scope: Scope, local: string, module: Module, name: string): void {
  Object.defineProperty(scope, local, {
    configurable: true,
    enumerable: true,
    get: () => module[name],
    set: (value) => Object.defineProperty(scope, local, { value, configurable: true, enumerable: true, writable: true }),
  });
}

const plain = new WeakMap<Module, Module>();

/** What has a name of a module as its property: a CommonJS package's names are those of its value too, where Node.js could not see them. */
function holder(module: Module, name: string): Module | undefined {
  const own = plain.get(module) ?? module;
  if (name in own) return own;
  const inner = own.default as Module | null | undefined;
  return plain.has(module) && inner && name in Object(inner) ? inner : undefined;
}

/** A module of Node.js's that all its names can be taken from. */
export function withNames(module: Module): Module {
  const inner = module.default as Module | undefined;
  if (!inner || (typeof inner !== 'object' && typeof inner !== 'function')) return module;
  const all = new Proxy(module, {
    get: (target, name) => (name in target || typeof name !== 'string' ? Reflect.get(target, name) : inner[name]),
  });
  plain.set(all, module);
  return all;
}

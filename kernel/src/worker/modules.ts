import { existsSync, readFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type InspectOptions, inspect } from 'node:util';
import { constants, Script } from 'node:vm';
import { isLocal } from '../find';
import type { LocalFile, LocalFiles } from '../local';
import { evaluate, type Load, type Module, newScope, type Place, TypesOnly, unfinished, withNames } from './evaluate';
import { requireFrom } from './require';

/** import() as a file in `folder` would mean it. */
function importFrom(folder: string): Load {
  const loader = (constants as { USE_MAIN_CONTEXT_DEFAULT_LOADER?: unknown } | undefined)?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (!loader) {
    // Node before 20.12: as require finds it
    const { resolve } = createRequire(join(folder, 'cell.js'));
    return (specifier, options) => {
      const found = /^(node:|file:|data:|https?:)/.test(specifier) ? specifier : resolve(specifier);
      return import(found.startsWith('/') ? pathToFileURL(found).href : found, options as never);
    };
  }
  return new Script('(specifier, options) => import(specifier, options)', {
    filename: join(folder, 'cell.js'),
    importModuleDynamically: loader as never,
  }).runInThisContext() as Load;
}

type Resolve = (specifier: string, parent: string) => string;

/** A file that was or is being run. */
interface Local {
  version: string;
  module: Module;
  done: Promise<void>;
  /** Those that it waits for. */
  waits: Set<Local>;
}

/** What cells and the files beside the notebook import. */
export class Modules {
  private readonly locals = new Map<string, Local>();
  private resolve?: Resolve;
  private tries = 0;
  /** Node.js's imports that are under way, by place and specifier. */
  private readonly underWay = new Set<string>();
  /** How often an import was torn: Node.js keeps what a stopped one left, under its URL. */
  private readonly torn = new Map<string, number>();

  constructor(
    /** The notebook's. */
    private readonly folder: string,
    /** Asks the front end for a file beside the notebook, with those that it imports. */
    private readonly ask: (folder: string, specifier: string) => Promise<LocalFiles | null>,
    /** Packages that are found from any folder, unless the folder has its own. */
    private readonly own: Record<string, () => string>,
  ) {}

  /** Makes ready what import.meta.resolve needs. It is asked for by each piece of code that uses import.meta, since one may be stopped meanwhile. */
  private async resolver(): Promise<Resolve> {
    // For any place: the process is started with --experimental-import-meta-resolve.
    const text = `/* ${++this.tries} */ export default (specifier, parent) => import.meta.resolve(specifier, parent)`;
    this.resolve ??= (await import(`data:text/javascript,${text}`)).default as Resolve;
    return this.resolve;
  }

  /** Where a file, or a cell of a notebook in its folder, runs. */
  place(filename: string): Place {
    const folder = dirname(filename);
    const require = requireFrom(filename, this.folder);
    return { scope: newScope(), load: this.loader(folder), meta: this.meta(filename), ready: () => this.resolver(), require };
  }

  private meta(filename: string): Place['meta'] {
    const { href: url } = pathToFileURL(filename);
    const resolve = (specifier: string): string => {
      try {
        return (this.resolve as Resolve)(specifier, url);
      } catch (error) {
        if (this.own[specifier]) return pathToFileURL(this.own[specifier]()).href;
        throw error;
      }
    };
    return { url, dirname: dirname(filename), filename, resolve };
  }

  /** `from`: the file that imports, with the others that are known already. */
  private loader(folder: string, from?: { local: Local; imports: Record<string, string>; files: Map<string, LocalFile> }): Load {
    const native = importFrom(folder);
    return async (specifier, options) => {
      if (isLocal(specifier)) {
        const path = from?.imports[specifier];
        if (from && path) return this.run(path, from.files, from.local);
        const found = await this.ask(folder, specifier);
        if (found) return this.run(found.path, new Map(found.files.map((file) => [file.path, file])), from?.local);
      }
      return this.package(specifier, folder, native, options);
    };
  }

  private async package(specifier: string, folder: string, native: Load, options?: object): Promise<Module> {
    try {
      return withNames(await this.node(native, specifier, folder, options));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const missing = code === 'ERR_MODULE_NOT_FOUND' && String(error).includes(`'${specifier}'`);
      if (missing && this.own[specifier]) return withNames(await this.node(native, pathToFileURL(this.own[specifier]()).href, folder));
      if (/^ERR_(MODULE_NOT_FOUND|PACKAGE_PATH_NOT_EXPORTED)$|^MODULE_NOT_FOUND$/.test(code ?? '') && hasTypes(specifier, folder))
        throw new TypesOnly(`The package '${specifier}' declares types and has no code: nothing of it can be used as a value.`);
      if (missing && !/^[./]/.test(specifier))
        throw new Error(
          `There is no package '${specifier}' here. A cell with the line %npm install ${specifier} puts it beside the notebook.`,
        );
      throw error;
    }
  }

  private async node(native: Load, specifier: string, folder: string, options?: object): Promise<Module> {
    const key = `${folder}\n${specifier}`;
    const times = isBuiltin(specifier) ? undefined : this.torn.get(key);
    const url = times && `${(await this.resolver())(specifier, pathToFileURL(join(folder, 'cell.ts')).href)}?again=${times}`;
    this.underWay.add(key);
    try {
      return await native(url || specifier, options);
    } catch (error) {
      if (error !== null && error !== undefined) throw error;
      throw new Error(
        `An earlier import of '${specifier}' was interrupted in the middle and cannot be begun again here: %reset makes that possible.`,
      );
    } finally {
      this.underWay.delete(key);
    }
  }

  /** The module of a file, run anew where it has changed. */
  private async run(path: string, files: Map<string, LocalFile>, from?: Local): Promise<Module> {
    const file = files.get(path) as LocalFile;
    let local = this.locals.get(path);
    if (local?.version !== file.version) local = this.begin(file, files);
    // One that waits for the file that imports it is taken as it is: files may import each other.
    if (from && waitsFor(local, from)) return local.module;
    from?.waits.add(local);
    await local.done;
    from?.waits.delete(local);
    return local.module;
  }

  private begin(file: LocalFile, files: Map<string, LocalFile>): Local {
    const local: Local = { version: file.version, module: newModule(), done: Promise.resolve(), waits: new Set() };
    this.locals.set(file.path, local);
    unfinished.add(local.module);
    // Not at once: first it is noted who waits for it.
    local.done = local.done.then(() => this.fill(local, file, files)).finally(() => unfinished.delete(local.module));
    local.done.catch(() => this.locals.get(file.path) === local && this.locals.delete(file.path));
    return local;
  }

  private async fill(local: Local, { path, kind, code, imports }: LocalFile, files: Map<string, LocalFile>): Promise<void> {
    const { module } = local;
    const give = (values: Record<string, () => unknown>, all: Module = {}) => {
      for (const name of Object.keys(all)) if (name !== 'default' && !(name in module)) define(module, name, () => all[name]);
      for (const [name, get] of Object.entries(values)) define(module, name, get);
    };
    if (kind === 'module' || kind === 'assigned') {
      const place = { ...this.place(path), load: this.loader(dirname(path), { local, imports, files }) };
      await evaluate(code, path, place, { give });
      if (kind === 'assigned') give({}, Object(module.default));
    } else if (kind !== 'types') {
      const value = kind === 'json' ? parseJson(code, path) : requireFrom(path, this.folder)(path);
      give({ default: () => value }, Object(value));
    }
  }

  /** A cell was interrupted: what it was importing may never end, and is begun anew when it is imported again. */
  abandon(): void {
    for (const [path, { module }] of this.locals) if (unfinished.has(module)) this.locals.delete(path);
    for (const key of this.underWay) this.torn.set(key, (this.torn.get(key) ?? 0) + 1);
    this.underWay.clear();
    for (const [path, module] of Object.entries(require.cache))
      if (module && !module.loaded && module !== require.main) delete require.cache[path];
  }
}

/** A module's namespace, that is shown as Node.js shows one. */
function newModule(): Module {
  const show = (module: Module, options: InspectOptions) => {
    const values: Module = {};
    for (const name of Object.keys(module).sort())
      try {
        values[name] = module[name];
      } catch {
        values[name] = undefined; // it is not there yet
      }
    return `[Module: null prototype] ${inspect(values, options)}`;
  };
  return Object.create(null, {
    [Symbol.toStringTag]: { value: 'Module' },
    [inspect.custom]: {
      value(this: Module, _depth: number, options: InspectOptions) {
        return show(this, options);
      },
    },
  });
}

function waitsFor(local: Local, other: Local, seen = new Set<Local>()): boolean {
  if (local === other) return true;
  if (seen.has(local)) return false;
  seen.add(local);
  return [...local.waits].some((next) => waitsFor(next, other, seen));
}

const define = (module: Module, name: string, get: () => unknown) =>
  Object.defineProperty(module, name, { get, enumerable: true, configurable: true });

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`${path} is no JSON: ${(error as Error).message}`);
  }
}

/** Whether a package is there whose types are all that it has of what is asked for. */
function hasTypes(specifier: string, folder: string): boolean {
  if (isBuiltin(specifier)) return false;
  const [, name, inner] = specifier.match(/^((?:@[^/]+\/)?[^/]+)\/?(.*)$/) ?? [];
  const types = `@types/${name?.replace(/^@(.+)\//, '$1__')}`;
  for (let at = folder; ; at = dirname(at)) {
    for (const root of [name, types].map((package_) => join(at, 'node_modules', package_))) {
      if (!existsSync(join(root, 'package.json'))) continue;
      if (inner) return ['.d.ts', '.d.mts', '/index.d.ts'].some((ending) => existsSync(join(root, inner + ending)));
      const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
      return !about.main && (existsSync(join(root, 'index.d.ts')) || /"(types|typings)":/.test(JSON.stringify(about)));
    }
    if (dirname(at) === at) return false;
  }
}

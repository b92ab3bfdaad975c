import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, extname, relative, resolve } from 'node:path';
import { convertFile } from './convert';
import { find, isLocal, LOADERS } from './find';
import { type Node, walk } from './syntax';

/** A file beside the notebook, as the worker runs it. */
export interface LocalFile {
  path: string;
  /** Another one when it or a file that it imports has changed. */
  version: string;
  /** `assigned`: a module by `export =`. */
  kind: 'module' | 'assigned' | 'json' | 'commonjs' | 'types';
  /** JavaScript or JSON; of a module as convertFile makes it. */
  code: string;
  /** The files that it means by its specifiers. */
  imports: Record<string, string>;
}

/** A file with all that it imports from there. */
export interface LocalFiles {
  path: string;
  files: LocalFile[];
}

/** Files that cells import, as one that has read them sees them change. */
export class Watched {
  /** When each was changed, in milliseconds; 0 where it is gone. */
  private readonly times = new Map<string, number>();

  constructor(private readonly folder: string) {}

  /** Files that have changed since the last call: those that `code` names, those that cells before named, and what they import. */
  changes(code: string): { path: string; gone: boolean }[] {
    const changed: { path: string; gone: boolean }[] = [];
    const look = (path: string) => {
      const time = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
      if (this.times.get(path) === time) return;
      this.times.set(path, time);
      changed.push({ path, gone: !time });
      if (time && !path.endsWith('.json')) follow(dirname(path), readFileSync(path, 'utf8'));
    };
    const follow = (folder: string, source: string) => {
      for (const [, specifier] of source.matchAll(/['"](\.\.?(?:\/[^'"\n]*)?)['"]/g)) {
        const path = find(folder, specifier);
        if (path && /\.([cm]?[tj]sx?|json)$/.test(path) && !this.times.has(path)) look(path);
      }
    };
    for (const path of [...this.times.keys()]) look(path);
    follow(this.folder, code);
    return changed;
  }
}

interface Read {
  text: string;
  kind: LocalFile['kind'];
  code: string;
  specifiers: string[];
}

/** The files that cells import from the notebook's folder, as JavaScript. */
export class LocalModules {
  private readonly cache = new Map<string, Read>();

  constructor(private readonly notebook: string) {}

  /** What code in `folder` means by a specifier, read anew each time; null where Node.js is to load it as it is. */
  async load(folder: string, specifier: string): Promise<LocalFiles | null> {
    const path = find(folder, specifier);
    const files = new Map<string, Read & { imports: Record<string, string> }>();
    const add = async (at: string): Promise<boolean> => {
      if (files.has(at)) return true;
      const read = await this.read(at);
      if (!read) return false;
      const imports: Record<string, string> = {};
      files.set(at, { ...read, imports });
      for (const inner of read.specifiers) {
        const other = find(dirname(at), inner);
        if (other && (await add(other))) imports[inner] = other;
      }
      return true;
    };
    if (!path || !(await add(path))) return null;
    const version = (at: string) => {
      const all = new Set([at]);
      for (const one of all) for (const other of Object.values(files.get(one)?.imports ?? {})) all.add(other);
      const hash = createHash('sha1');
      for (const one of [...all].sort()) hash.update(`${one}\0${files.get(one)?.text}\0`);
      return hash.digest('hex');
    };
    return { path, files: [...files].map(([at, { kind, code, imports }]) => ({ path: at, version: version(at), kind, code, imports })) };
  }

  private async read(path: string): Promise<Read | undefined> {
    if (!/\.([cm]?[tj]sx?|json)$/.test(path)) return;
    const text = readFileSync(path, 'utf8').replace(/^\uFEFF/, '');
    let read = this.cache.get(path);
    if (read?.text === text) return read;
    read = await this.convert(path, text);
    if (read) this.cache.set(path, read);
    else this.cache.delete(path);
    return read;
  }

  private async convert(path: string, text: string): Promise<Read | undefined> {
    if (path.endsWith('.json')) return { text, kind: 'json', code: text, specifiers: [] };
    if (/\.d\.[cm]?ts$/.test(path)) return { text, kind: 'types', code: '', specifiers: [] };
    const { parseSync } = await import('oxc-parser');
    const ending = extname(path);
    const { program, module } = parseSync(ending === '.js' ? 'file.jsx' : path, text, ending === '.cjs' ? { sourceType: 'script' } : {});
    const specifiers = specifiersOf(program as unknown as Node);
    if (/\.[cm]?js$/.test(ending)) {
      const near = !/^\.\.|(^|\/)node_modules\//.test(relative(this.notebook, path));
      if (ending !== '.mjs' && !module.hasModuleSyntax) return near ? { text, kind: 'commonjs', code: '', specifiers } : undefined;
      // Others of their package import them too, and are to find the same; but Node.js 20 has to be told that a .js is a module.
      if (!near && (ending === '.mjs' || isModulePackage(dirname(path)))) return;
    }
    const assignment = (program as unknown as Node).body.find(({ type }: Node) => type === 'TSExportAssignment');
    const source = assignment ? text.slice(0, assignment.start) + text.slice(assignment.start).replace('=', ' default ') : text;
    const code = await convertFile(source, path, LOADERS[ending] ?? 'ts');
    return { text, kind: assignment ? 'assigned' : 'module', code, specifiers };
  }
}

/** Local specifiers that code imports, or requires, by name. */
function specifiersOf(program: Node): string[] {
  const found = new Set<string>();
  walk(program, ({ type, source, callee, arguments: given }) => {
    const named = /^(Import|Export).*(Declaration|Expression)$/.test(type) ? source : callee?.name === 'require' ? given[0] : undefined;
    if (typeof named?.value === 'string' && isLocal(named.value)) found.add(named.value);
  });
  return [...found];
}

function isModulePackage(folder: string): boolean {
  const path = resolve(folder, 'package.json');
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')).type === 'module';
  return dirname(folder) !== folder && isModulePackage(dirname(folder));
}

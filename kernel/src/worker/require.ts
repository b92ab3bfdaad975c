import { readFileSync, statSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { dirname, extname } from 'node:path';
import { find, isLocal, LOADERS } from '../find';

type Loaded = Module & { _compile(code: string, path: string): void };

/** When each file was changed that a local file consists of, in milliseconds. */
type Times = Map<string, number>;
const loaded = new Map<string, Times>();
/** Of the files that are being loaded. */
const loading: Times[] = [];

const timeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const isCurrent = (path: string): boolean => [...(loaded.get(path) ?? [])].every(([file, time]) => timeOf(file) === time);

/** require() as a file means it: a file of the notebook's folder may be TypeScript, and is read anew where it or what it requires has changed. */
export function requireFrom(filename: string, notebook: string): NodeJS.Require {
  const plain = createRequire(filename);
  const require = (specifier: string): unknown => {
    const path = isLocal(specifier) && !specifier.startsWith('file:') ? find(dirname(filename), specifier) : undefined;
    const isOurs = path && /\.[cm]?[tj]sx?$/.test(path) && path.startsWith(`${notebook}/`) && !path.includes('/node_modules/');
    if (!isOurs) return plain(specifier);
    if (!isCurrent(path)) delete plain.cache[path];
    const found = plain.cache[path] ?? loadAt(path, notebook);
    for (const [file, time] of loaded.get(path) ?? []) loading.at(-1)?.set(file, time);
    return found.exports;
  };
  return Object.assign(require, plain);
}

function loadAt(path: string, notebook: string): NodeJS.Module {
  const { cache } = require;
  const module = new Module(path) as Loaded;
  const times: Times = new Map([[path, timeOf(path)]]);
  Object.assign(module, { filename: path, paths: createRequire(path).resolve.paths('x'), require: requireFrom(path, notebook) });
  cache[path] = module;
  loading.push(times);
  try {
    module._compile(javaScriptOf(path), path);
    module.loaded = true;
    loaded.set(path, times);
  } catch (error) {
    delete cache[path];
    throw error;
  } finally {
    loading.pop();
  }
  return module;
}

function javaScriptOf(path: string): string {
  const text = readFileSync(path, 'utf8').replace(/^\uFEFF/, '');
  const ending = extname(path);
  if (/^\.c?js$/.test(ending) && !/^\s*(import|export)\b/m.test(text)) return text;
  const { transformSync } = require('esbuild') as typeof import('esbuild');
  const tsconfigRaw = { compilerOptions: { target: 'es2022', useDefineForClassFields: true } } as const;
  return transformSync(text, { loader: LOADERS[ending] ?? 'ts', format: 'cjs', target: 'node20', sourcefile: path, tsconfigRaw }).code;
}

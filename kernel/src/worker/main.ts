// The process that runs cells and owns their values. The front end (../kernel.ts) starts it, sends it JavaScript through a pipe that
// the watchdog reads, and reads what comes of it from another; see ../worker.ts for both.
import { readFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import type { LocalFile } from '../local';
import type { ToWorker } from '../worker';
import { endCell, startCell, waits } from './cells';
import { followChildren } from './children';
import { openComms, receiveComm } from './comms';
import { followTimers, inCell } from './context';
import { failure } from './errors';
import { take } from './gate';
import { importFrom, withNames } from './modules';
import { captureStreams, emit, Json } from './output';
import { answered, ask } from './questions';
import { microtask } from './sturdy';
import { bundleOf } from './values';
import { startWatchdog } from './watch';

const [root] = process.argv.slice(2);
const folder = process.cwd();
const scope: Record<string, unknown> = {};
const require_ = createRequire(join(folder, 'cell.js'));
const load = importFrom(folder);

/** Packages that notebooks import from any folder, unless the folder has its own. */
const ownRequire = createRequire(__filename);
const OWN: Record<string, () => string> = {
  tunebook: () => createRequire(join(root, 'package.json')).resolve(root),
  tslab: () => ownRequire.resolve('tslab'),
};

type Body = (...given: unknown[]) => Promise<{ value: unknown } | undefined>;
const PARAMETERS = '__scope, __import, __meta, __await, __iterate, require, module, exports, __filename, __dirname';

function compile(code: string, file: string): Body {
  const head = `(async function (${PARAMETERS}) {`;
  return new Script(`${head}${code}\n})`, { filename: file, columnOffset: -head.length }).runInThisContext() as Body;
}

const meta = { url: pathToFileURL(join(folder, 'cell.ts')).href, dirname: folder, filename: join(folder, 'cell.ts') };

async function importModule(specifier: string, options?: object): Promise<unknown> {
  if (/^\.\.?\//.test(specifier)) {
    if (specifier.endsWith('.json')) {
      const value = JSON.parse(readFileSync(join(folder, specifier), 'utf8'));
      return { ...value, default: value };
    }
    const found = /\.([cm]?js|node)$/.test(specifier) ? null : await ask<LocalFile | null>({ type: 'load', specifier });
    if (found) return localModule(found);
  }
  try {
    return withNames(await load(specifier, options));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const missing = code === 'ERR_MODULE_NOT_FOUND' && String(error).includes(`'${specifier}'`);
    if (missing && OWN[specifier]) return withNames(await load(OWN[specifier]()));
    if (missing && !/^[./]/.test(specifier))
      throw new Error(
        `There is no package '${specifier}' here. A cell with the line %npm install ${specifier} puts it beside the notebook.`,
      );
    throw error;
  } finally {
    showThroughTslab();
  }
}

/** Files of the notebook's folder, run as cells are; one that has changed since is run anew. */
const locals = new Map<string, { code: string; module: Promise<object> }>();

function localModule({ path, code, exports }: LocalFile): Promise<object> {
  const before = locals.get(path);
  if (before?.code === code) return before.module;
  const inside: Record<string, unknown> = {};
  const requireThere = createRequire(path);
  const there = { url: pathToFileURL(path).href, dirname: join(path, '..'), filename: path };
  const loadThere = importFrom(join(path, '..'));
  const importThere = async (specifier: string, options?: object) =>
    loadThere(specifier, options).then(withNames, () => importModule(specifier, options));
  const module = (async () => {
    await compile(code, path)(inside, importThere, there, ...waits(), requireThere, { exports: {} }, {}, path, there.dirname);
    const made: Record<string, unknown> = {};
    for (const [name, at] of exports)
      if (name === '*') Object.assign(made, inside[at]);
      else Object.defineProperty(made, name, { enumerable: true, get: () => inside[at] });
    return made;
  })();
  locals.set(path, { code, module });
  module.catch(() => locals.delete(path));
  return module;
}

// What cells may use without an import.
Object.assign(globalThis, {
  /** Asks the reader of the notebook for a line of text. */
  input: (prompt = '', { password = false } = {}) => ask<string>({ type: 'input', prompt: String(prompt), password }),
  /** Takes away what the cell has shown so far; `wait`: when the next output comes. */
  clearOutput: (wait = false) => emit({ type: 'clear', wait }),
});

// Libraries write rich output through this, and through tslab's own place for it when tslab is loaded.
const display = (content?: { data?: object; metadata?: object; transient?: object }, update = false) => {
  const { data, metadata, transient } = content ?? {};
  emit({ type: 'display', data: bundleOf(data, 'What display was given'), metadata: metadata ?? {}, transient: transient ?? {}, update });
};
Object.assign(globalThis, { [Symbol.for('tunebook.display')]: display, [Symbol.for('tunebook.comms')]: openComms() });

function showThroughTslab(): void {
  for (const [path, module] of Object.entries(require.cache))
    if (/[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(path) && module) module.exports.lastWriteDisplayData = display;
}

/** Names of cells are readable as globals too where nothing else has the name: code of cells before finds them there. */
function shareNames(names: string[]): void {
  for (const name of names)
    if (!(name in globalThis))
      Object.defineProperty(globalThis, name, {
        configurable: true,
        get: () => scope[name],
        set: (value) => {
          scope[name] = value;
        },
      });
}

async function evaluate(code: string, file: string, cell?: number): Promise<unknown> {
  const result = await compile(code, file)(scope, importModule, meta, ...waits(cell), require_, { exports: {} }, {}, meta.filename, folder);
  return result?.value;
}

function receive(message: ToWorker): void {
  switch (message.type) {
    case 'run':
      startCell(message, async (...given) => {
        shareNames(message.names);
        return evaluate(...given);
      });
      break;
    case 'end':
      endCell(message.cell);
      break;
    case 'signal':
      void microtask(() => process.emit('SIGINT', 'SIGINT'));
      break;
    case 'answer':
      answered(message);
      break;
    case 'comm':
      void microtask(() => inCell(message.cell, () => receiveComm(message)));
      break;
    case 'quit':
      void microtask(() => process.exit(0));
  }
}
followChildren(startWatchdog((number, message) => take(number, () => receive(message))));

// How many in the running code want to hear of an interrupt: told at once, since the code may not yield again.
const count = (more: number) => emit({ type: 'guards', count: process.listenerCount('SIGINT') + more });
process.on('newListener', (name) => name === 'SIGINT' && count(1)); // which is told before it is one
process.on('removeListener', (name) => name === 'SIGINT' && count(0));

const stray = (what: string) => (error: unknown) => emit({ type: 'stray', what, thrown: new Json(failure(error)) });
process.on('uncaughtException', stray('Uncaught'));
process.on('unhandledRejection', stray('Unhandled rejection'));

captureStreams();
followTimers();

const inModule = Module as unknown as { _resolveFilename(request: string, ...rest: unknown[]): string };
const resolveFilename = inModule._resolveFilename;
inModule._resolveFilename = function (request, ...rest) {
  try {
    return resolveFilename.call(this, request, ...rest);
  } catch (error) {
    if (OWN[request]) return OWN[request]();
    throw error;
  }
};
emit({ type: 'ready' });

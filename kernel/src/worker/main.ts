// The process that runs cells and owns their values. The front end (../kernel.ts) starts it, sends it JavaScript over Node's
// message channel, and reads what comes of it from a pipe; see ../worker.ts for both.
import { readFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import { Worker } from 'node:worker_threads';
import type { LocalFile } from '../local';
import type { ToWorker } from '../worker';
import { openComms, receiveComm } from './comms';
import { enterCell, followTimers, inCell, leaveCell } from './context';
import { importFrom, withNames } from './modules';
import { captureStreams, emit } from './output';
import { bundle, failure, type Outcome } from './values';

const [root] = process.argv.slice(2);
const folder = process.cwd();
const scope: Record<string, unknown> = {};
const require_ = createRequire(join(folder, 'cell.js'));
const load = importFrom(folder);
/** How to end the wait for each running cell. */
const endings = new Map<number, () => void>();
const answers = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
let asked = 0;

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

/** Asks the front end for something; the running code goes on when the answer is here. */
function ask<T>(question: { type: string; [name: string]: unknown }): Promise<T> {
  const id = ++asked;
  emit({ ...question, id });
  return new Promise<T>((resolve, reject) => answers.set(id, { resolve: resolve as never, reject }));
}

/** Not 0 once a cell has to end: the library's native ops throw then. */
const flag = new Int32Array(new SharedArrayBuffer(4));
Object.assign(globalThis, { [Symbol.for('tunebook.interrupt')]: flag });

// What cells may use without an import.
Object.assign(globalThis, {
  /** Asks the reader of the notebook for a line of text. */
  input: (prompt = '', { password = false } = {}) => ask<string>({ type: 'input', prompt: String(prompt), password }),
  /** Takes away what the cell has shown so far; `wait`: when the next output comes. */
  clearOutput: (wait = false) => emit({ type: 'clear', wait }),
});

// Libraries write rich output through this, and through tslab's own place for it when tslab is loaded.
const display = (data: object, update = false) => emit({ type: 'display', content: data, update });
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

/** Cells that were interrupted: what they wait for comes, and they do not go on. */
const interrupted = new Set<number>();

/** __await and __iterate of a cell; of other code without a number. */
function waits(cell = 0): [(value: unknown) => unknown, (values: AsyncIterable<unknown>) => AsyncIterable<unknown>] {
  const unless = (f: (value: never) => void) => (value: unknown) => {
    if (!interrupted.has(cell)) f(value as never);
  };
  const wait = (value: unknown) =>
    new Promise((resolve, reject) => {
      Promise.resolve(value).then(unless(resolve), unless(reject));
    });
  async function* iterate(values: AsyncIterable<unknown>) {
    for await (const value of values) yield await wait(value);
  }
  return [wait, iterate];
}

async function evaluate(code: string, file: string, cell?: number): Promise<unknown> {
  const result = await compile(code, file)(scope, importModule, meta, ...waits(cell), require_, { exports: {} }, {}, meta.filename, folder);
  return result?.value;
}

async function run({ cell, code, names, file, expressions }: Extract<ToWorker, { type: 'run' }>): Promise<void> {
  enterCell(cell);
  Atomics.store(flag, 0, 0);
  const ended = new Promise<Outcome>((resolve) => endings.set(cell, () => resolve(INTERRUPTED)));
  const body = async (): Promise<Outcome> => {
    await null; // in a microtask, Node keeps no books that would be wrong if the code were stopped
    try {
      shareNames(names);
      const value = await evaluate(code, file, cell);
      return value === undefined ? { ok: true } : { ok: true, data: await bundle(value) };
    } catch (error) {
      return failure(error);
    }
  };
  let outcome = await Promise.race([body(), ended]);
  if (outcome !== INTERRUPTED) await new Promise((resolve) => plainImmediate(resolve)); // output of its last turn
  const results: Record<string, Outcome> = {};
  const answerAll = async () => {
    for (const [name, expression] of Object.entries(expressions))
      results[name] = await evaluate(expression, 'expression')
        .then(bundle)
        .then((data) => ({ ok: true, data }), failure);
    return outcome;
  };
  if (outcome.ok) outcome = await Promise.race([answerAll(), ended]);
  endings.delete(cell);
  // One that listens for interrupts ends itself, and needs its timers for that.
  const cut = outcome === INTERRUPTED && !process.listenerCount('SIGINT');
  if (cut) interrupted.add(cell);
  leaveCell(cell, cut);
  emit({ type: 'done', cell, outcome, results });
}
const plainImmediate = setImmediate;

const INTERRUPTED: Outcome = { ok: false, ename: 'Interrupted', evalue: 'the cell was interrupted', stack: '', carried: [] };

process.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'run':
      return void run(message);
    case 'end':
      endings.get(message.cell)?.();
      return;
    case 'signal':
      process.emit('SIGINT', 'SIGINT');
      return;
    case 'answer': {
      const { id, value, error } = message;
      const waiting = answers.get(id);
      answers.delete(id);
      if (error === undefined) waiting?.resolve(value as never);
      else waiting?.reject(new Error(error));
      return;
    }
    case 'comm':
      void Promise.resolve().then(() => inCell(message.cell, () => receiveComm(message)));
      return;
    case 'quit':
      process.exit(0);
  }
});
process.on('disconnect', () => process.exit(0));

// How many in the running code want to hear of an interrupt: told at once, since the code may not yield again.
const count = (more: number) => emit({ type: 'guards', count: process.listenerCount('SIGINT') + more });
process.on('newListener', (name) => name === 'SIGINT' && count(1)); // which is told before it is one
process.on('removeListener', (name) => name === 'SIGINT' && count(0));

const stray = (what: string) => (error: unknown) => emit({ type: 'stray', what, thrown: failure(error) });
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
new Worker(join(__dirname, 'watchdog.js'), { workerData: { fd: 4, flag }, stdout: false, stderr: false }).unref();
emit({ type: 'ready' });

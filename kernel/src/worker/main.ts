// The process that runs cells and owns their values. The front end (../kernel.ts) starts it, sends it JavaScript through a pipe that
// the watchdog reads, and reads what comes of it from another; see ../worker.ts for both.
import Module, { createRequire } from 'node:module';
import { join } from 'node:path';
import { microtask, sturdyMap } from '../sturdy';
import type { ToWorker } from '../worker';
import { endCell, startCell, waits } from './cells';
import { followChildren } from './children';
import { openComms, receiveComm } from './comms';
import { cellNow, followTimers, inCell } from './context';
import { DisplayError, failure } from './errors';
import { evaluate } from './evaluate';
import { take } from './gate';
import { Held } from './held';
import { Modules } from './modules';
import { offer } from './offered';
import { captureStreams, emit, Json } from './output';
import { answered, ask } from './questions';
import { bundleOf } from './values';
import { startWatchdog } from './watch';

const [root] = process.argv.slice(2);
const folder = process.cwd();

/** Packages that notebooks import from any folder, unless the folder has its own. */
const ownRequire = createRequire(__filename);
const OWN: Record<string, () => string> = {
  tunebook: () => createRequire(join(root, 'package.json')).resolve(root),
  tslab: () => ownRequire.resolve('tslab'),
};

const modules = new Modules(folder, (from, specifier) => ask({ type: 'load', folder: from, specifier }), OWN);
const place = modules.place(join(folder, 'cell.ts'));
const { load } = place;
place.load = (specifier, options) => load(specifier, options).finally(showThroughTslab);

// What cells may use without an import.
Object.assign(globalThis, {
  /** Asks the reader of the notebook for a line of text. */
  input: (prompt = '', { password = false } = {}) => ask<string>({ type: 'input', prompt: String(prompt), password }),
  /** Takes away what the cell has shown so far; `wait`: when the next output comes. */
  clearOutput: (wait = false) => emit({ type: 'clear', wait }),
  /** Shows what a function, a class or a value is: its docstring, options and methods. */
  help: (what: unknown) => {
    const named = typeof what === 'function' ? what : (what as object | null | undefined)?.constructor;
    emit({ type: 'help', name: String(named?.name) });
  },
});

// Libraries write rich output through this, and through tslab's own place for it when tslab is loaded.
const display = (content?: { data?: object; metadata?: object; transient?: object }, update = false) => {
  const { data, metadata, transient } = content ?? {};
  const what = 'What display was given';
  const bundle = bundleOf(data, what);
  try {
    emit({ type: 'display', data: bundle, metadata: metadata ?? {}, transient: transient ?? {}, update });
  } catch (error) {
    throw new DisplayError(what, error);
  }
};
/** Gives what drops the cells that wait behind the one that runs now, for as long as it runs. */
const dropper = (cell = cellNow()) => {
  return () => emit({ type: 'drop', cell });
};
Object.assign(globalThis, {
  [Symbol.for('tunebook.display')]: display,
  [Symbol.for('tunebook.comms')]: openComms(),
  [Symbol.for('tunebook.dropper')]: dropper,
});

function showThroughTslab(): void {
  for (const [path, module] of Object.entries(require.cache))
    if (/[\\/]tslab[\\/]dist[\\/]jupyter\.js$/.test(path) && module) module.exports.lastWriteDisplayData = display;
}

/** What running cells hold by `using`. */
const holds = sturdyMap<number, Held>();

async function run(code: string, file: string, cell = 0): Promise<unknown> {
  const held = new Held();
  holds.set(cell, held);
  try {
    return await evaluate(code, file, place, { waits: waits(cell), held });
  } finally {
    holds.delete(cell);
  }
}

/** A cell was ended: it does not let go of what it holds itself. */
function letGo(cell: number): void {
  const held = holds.get(cell);
  holds.delete(cell);
  if (!held) return;
  modules.abandon();
  held.release().catch(stray('Let go of by a cell that was interrupted:'));
}

function receive(message: ToWorker): void {
  switch (message.type) {
    case 'run':
      startCell(message, run);
      break;
    case 'end':
      if (endCell(message.cell)) void microtask(() => inCell(message.cell, () => letGo(message.cell)));
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
    case 'values':
      void microtask(() => offer(message.id, message.asked, place.scope));
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

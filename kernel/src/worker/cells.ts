import { immediate, keys, microtask, Promised, stringify, sturdyMap } from '../sturdy';
import type { ToWorker } from '../worker';
import { enterCell, leaveCell } from './context';
import { DisplayError, failure } from './errors';
import type { Waits } from './evaluate';
import { whole } from './gate';
import { emit, Json } from './output';
import { dropQuestions } from './questions';
import { bundle } from './values';

type Evaluate = (code: string, file: string, cell?: number) => Promise<unknown>;

/** Cells whose outcome was not sent yet. Each outcome is sent by `finish`, whole; so a cell that is not here any more has been heard of. */
const running = sturdyMap<number, true>();
/** Cells that were interrupted: what they wait for comes, and they do not go on. */
const interrupted = sturdyMap<number, true>();
const listeners = process.listenerCount.bind(process);

/** Starts a cell, whose code begins in a microtask. */
export function startCell({ cell, code, file, expressions }: Extract<ToWorker, { type: 'run' }>, evaluate: Evaluate): void {
  running.set(cell, true);
  enterCell(cell);
  void microtask(run);

  /** Its output, and that of whoever learns that a question is gone. */
  const lastTurn = () => {
    dropQuestions(cell, false);
    return new Promised((resolve) => immediate(resolve));
  };

  async function run(): Promise<void> {
    let outcome = '{"ok":true}';
    let results = '{}';
    try {
      const value = await evaluate(code, file, cell);
      if (value !== undefined) outcome = `{"ok":true,"data":${(await bundle(value)).text}}`;
      await lastTurn();
      results = await valuesOf(expressions, evaluate);
    } catch (error) {
      outcome = failed(error);
      await lastTurn();
    }
    finish(cell, outcome, results, false);
  }
}

/** Ends a cell, wherever it is, and says whether it goes on no more: one that listens for interrupts ends itself, and needs its timers for that. */
export function endCell(cell: number): boolean {
  const cut = !listeners('SIGINT');
  finish(cell, INTERRUPTED, '{}', cut);
  return cut;
}

function finish(cell: number, outcome: string, results: string, cut: boolean): void {
  whole(() => {
    if (!running.has(cell)) return;
    running.delete(cell);
    if (cut) interrupted.set(cell, true);
    leaveCell(cell, cut);
    dropQuestions(cell, cut);
    const send = (text: string, values: string) => emit({ type: 'done', cell, outcome: new Json(text), results: new Json(values) });
    try {
      send(outcome, results);
    } catch (error) {
      send(failed(new DisplayError('The outcome of the cell', error)), '{}');
    }
  });
}

const failed = (error: unknown) => failure(error, '"ok":false,');
const INTERRUPTED = failed({ name: 'Interrupted', message: 'the cell was interrupted' });

async function valuesOf(expressions: Record<string, string>, evaluate: Evaluate): Promise<string> {
  let results = '';
  for (let names = keys(expressions), i = 0; i < names.length; i++) {
    let result: string;
    try {
      result = `{"ok":true,"data":${(await bundle(await evaluate(expressions[names[i]], 'expression'))).text}}`;
    } catch (error) {
      result = failed(error);
    }
    results += `${results && ','}${stringify(names[i])}:${result}`;
  }
  return `{${results}}`;
}

/** __await and __iterate of a cell. */
export function waits(cell: number): Waits {
  const goesOn = () => !interrupted.has(cell);
  const pass = async (value: unknown, resolve: (value: unknown) => void, reject: (error: unknown) => void) => {
    try {
      const came = await value;
      if (goesOn()) resolve(came);
    } catch (error) {
      if (goesOn()) reject(error);
    }
  };
  const wait = (value: unknown) => new Promised((resolve, reject) => void pass(value, resolve, reject));
  async function* iterate(values: AsyncIterable<unknown>) {
    for await (const value of values) yield await wait(value);
  }
  return [wait, iterate];
}

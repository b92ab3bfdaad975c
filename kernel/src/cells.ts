import { inspect } from 'node:util';
import type { Converter } from 'tslab/dist/converter';

type Tslab = {
  createConverter: () => Converter;
  isCompleteCode: (code: string) => { completed: boolean; indent?: string };
};

export type Outcome = { ok: true; result?: unknown } | { ok: false; ename: string; evalue: string; traceback: string[] };

export interface Completion {
  start: number;
  end: number;
  candidates: string[];
}

/** Cells with tslab's semantics: type-checked, top-level await, redeclaration across cells. */
export class Cells {
  private readonly converter: Converter;
  private readonly executor: import('tslab/dist/executor').Executor;
  private result: unknown;
  private complaints: unknown[][] = [];

  constructor(folder: string) {
    const { createConverter } = require('tslab/dist/converter') as Tslab;
    const { createExecutor } = require('tslab/dist/executor') as typeof import('tslab/dist/executor');
    this.converter = createConverter();
    // tslab hands the value of a cell, and what went wrong, to this console and to nothing else.
    const console = {
      log: (value: unknown) => {
        this.result = value;
      },
      error: (...args: unknown[]) => {
        this.complaints.push(args);
      },
    };
    this.executor = createExecutor(folder, { node: this.converter, browser: this.converter, close: () => this.converter.close() }, console);
  }

  async run(code: string): Promise<Outcome> {
    this.result = undefined;
    this.complaints = [];
    this.shareNames();
    const ok = await this.executor.execute(code);
    if (ok) return { ok, result: this.result };
    const [first] = this.complaints;
    if (typeof first?.[0] === 'string' && first[0].startsWith('%s%d:%d')) return typeErrors(code, this.complaints);
    return thrown(first?.[0]);
  }

  /**
   * tslab turns `a` into `exports.a` where a cell uses what an earlier one declared, but overlooks the shorthand `{ a }`.
   * Names that are not taken are therefore readable as globals too.
   */
  private shareNames(): void {
    const { locals } = this.executor;
    for (const name of Object.keys(locals)) {
      if (name in globalThis) continue;
      Object.defineProperty(globalThis, name, {
        configurable: true,
        get: () => locals[name],
        set: (value) => {
          locals[name] = value;
        },
      });
    }
  }

  /** Ends the wait of the running cell. */
  interrupt(): void {
    this.executor.interrupt();
  }

  complete(code: string, position: number): Completion {
    const { start, end, candidates } = this.executor.complete(code, position);
    return { start, end, candidates };
  }

  inspect(code: string, position: number): string | undefined {
    const info = this.executor.inspect(code, position);
    if (!info) return undefined;
    const text = (parts?: { text: string }[]) => (parts ?? []).map((part) => part.text).join('');
    return [text(info.displayParts), text(info.documentation)].filter(Boolean).join('\n\n');
  }

  isComplete(code: string): { status: string; indent?: string } {
    const { isCompleteCode } = require('tslab/dist/converter') as Tslab;
    const { completed, indent } = isCompleteCode(code);
    return completed ? { status: 'complete' } : { status: 'incomplete', indent: indent ?? '' };
  }

  close(): void {
    this.executor.close();
  }
}

/** Type errors with the line they are in. */
function typeErrors(code: string, complaints: unknown[][]): Outcome {
  const lines = code.split('\n');
  const shown = complaints.map(([, file, line, column, text]) => {
    const source = file ? undefined : lines[Number(line) - 1];
    const where = `${file ? `${file}` : 'line '}${line}:${column}`;
    return `${where}  ${text}${source === undefined ? '' : `\n    ${source}\n    ${' '.repeat(Number(column) - 1)}^`}`;
  });
  return {
    ok: false,
    ename: 'TypeCheckError',
    evalue: String(complaints[0][4]),
    traceback: [`TypeCheckError: the cell was not run.\n${shown.join('\n')}`],
  };
}

function thrown(error: unknown): Outcome {
  if (!(error instanceof Error) && !(error && typeof error === 'object' && 'message' in error))
    return { ok: false, ename: 'Error', evalue: inspect(error), traceback: [`Uncaught ${inspect(error)}`] };
  const { name = 'Error', message, stack = '' } = error as Error;
  if (message === 'Interrupted asynchronously' || (error as { code?: string }).code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED')
    return { ok: false, ename: 'Interrupted', evalue: 'the cell was interrupted', traceback: ['Interrupted: the cell was interrupted.'] };
  // An error that was written for its reader needs no stack; of others the frames in cells are what helps.
  const frames = stack.split('\n').filter((line) => /^\s+at .*evalmachine/.test(line));
  const own = /^(Tunebook|Option|File|Data|Training|Shape)Error$/.test(name);
  return { ok: false, ename: name, evalue: message, traceback: [`${name}: ${message}`, ...(own ? [] : frames)] };
}

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { Decoder, encode, type Frame } from './frames';
import type { Asked } from './offers';
import { Printed } from './printed';

/** What the front end tells the worker; 'ops', 'end' and 'signal' its watchdog too. */
export type ToWorker =
  | { type: 'run'; cell: number; code: string; file: string; expressions: Record<string, string> }
  | { type: 'ops' }
  | { type: 'end'; cell: number }
  | { type: 'signal'; cells: number[] }
  | { type: 'answer'; id: number; value?: unknown; error?: string }
  | { type: 'comm'; kind: string; cell: number; content: object; metadata: Record<string, unknown>; buffers: Uint8Array[] }
  | { type: 'values'; id: number; asked: Asked }
  | { type: 'quit' };

export interface WorkerEvents {
  frame(frame: Frame): void;
  /** The cell that output without one belongs to. */
  cell(): number;
  /** It is gone without having been asked to go. */
  died(why: string): void;
}

/** What output may need that is still on its way when the process is gone, in ms. */
const DRAIN = 300;

/** The process that runs the cells, seen from the front end. */
export class CellWorker {
  private child?: ChildProcess;
  private started?: Promise<void>;
  /** How many in the cells' code listen for interrupts. */
  guards = 0;
  /** Why it did not start. */
  failure = '';
  /** Why it is being replaced. */
  private replaced = '';
  private printed?: Printed;

  constructor(
    private readonly root: string,
    private readonly folder: string,
    private readonly events: WorkerEvents,
  ) {}

  start(): Promise<void> {
    this.guards = 0;
    this.replaced = '';
    this.started = new Promise((resolve) => {
      // Ending the JavaScript of a timer's callback leaves Node's async stack unbalanced, which it would take for a fault.
      const flags = ['--no-force-async-hooks-checks', '--no-warnings', '--experimental-import-meta-resolve'];
      const child = spawn(process.execPath, [...flags, join(__dirname, 'worker', 'main.js'), this.root], {
        cwd: this.folder,
        stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
        // A group of its own, so that what cells started goes when it goes; what is to stay leaves the group.
        detached: true,
      });
      this.child = child;
      const decoder = new Decoder();
      const printed = new Printed((name, text, cell) => this.events.frame({ type: 'stream', cell, name, text }));
      this.printed = printed;
      let ready = false;
      const take = (frame: Frame) => {
        if (frame.type === 'ready') {
          ready = true;
          resolve();
        } else if (frame.type === 'guards') this.guards = frame.count;
        else if (frame.type === 'stream') printed.take(frame);
        else if (this.child === child) this.events.frame(frame);
      };
      child.stdio[3]?.on('data', (chunk: Buffer) => {
        try {
          for (const frame of decoder.push(chunk)) take(frame);
        } catch {
          this.replace('what it sent to the notebook could not be read');
        }
      });
      for (const name of ['stdout', 'stderr'] as const)
        child[name]?.on('data', (chunk: Buffer) => printed.takeNative(name, chunk, this.events.cell()));
      for (const stream of child.stdio) stream?.on('error', () => {}); // it has died; 'exit' tells
      child.on('error', (error) => {
        if (child.pid) return; // it runs; 'exit' tells
        this.failure = error.message;
        this.child = undefined;
        resolve();
      });
      const gone = async (code: number | null, signal: string | null) => {
        kill(child);
        // What it still had to say; a process that was to stay may hold its pipes.
        await Promise.race([new Promise((closed) => child.once('close', closed)), wait(DRAIN)]);
        printed.end();
        if (this.child !== child) return;
        const why = printed.complaints.why(code, signal);
        // One that dies at once would do so again: the next cell tries anew.
        if (!ready) this.failure = printed.complaints.tail.trim() || why;
        this.child = undefined;
        if (ready) this.events.died(this.replaced || why);
        resolve();
      };
      child.on('exit', (code, signal) => void gone(code, signal));
    });
    return this.started;
  }

  /** False where there is no worker to tell: it does not start, and `failure` says why. */
  async tell(message: ToWorker): Promise<boolean> {
    await (this.child ? this.started : this.start());
    if (!this.child) return false;
    (this.child.stdio[4] as Writable).write(encode(message));
    return true;
  }

  /** Resolves when all that was written before has been read, whichever pipe it came through. */
  async settled(): Promise<void> {
    await this.printed?.settled();
  }

  /** Ends a worker that cannot go on; `why` is what the notebook is told. */
  replace(why: string): void {
    if (!this.child) return;
    this.replaced = why;
    kill(this.child);
  }

  async close(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    (child.stdio[4] as Writable).write(encode({ type: 'quit' }));
    const hard = setTimeout(() => kill(child), 500);
    await gone;
    clearTimeout(hard);
  }
}

/** Ends a worker and all that its cells started in its group. */
function kill({ pid }: ChildProcess): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL');
  } catch {
    // nobody is left
  }
}

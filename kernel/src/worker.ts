import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';
import { Decoder, type Frame } from './frames';
import { Text } from './text';

/** What the front end tells the worker. */
export type ToWorker =
  | { type: 'run'; cell: number; code: string; names: string[]; file: string; expressions: Record<string, string> }
  | { type: 'end'; cell: number }
  | { type: 'signal' }
  | { type: 'answer'; id: number; value?: unknown; error?: string }
  | { type: 'comm'; kind: string; cell: number; content: object; metadata: Record<string, unknown>; buffers: Uint8Array[] }
  | { type: 'quit' };

export interface WorkerEvents {
  frame(frame: Frame): void;
  /** The cell that output without one belongs to. */
  cell(): number;
  /** It is gone without having been asked to go. */
  died(how: { code: number | null; signal: string | null; complaint: string }): void;
}

function take(text: Text, frame: Frame): void {
  if (frame.buffers) text.push(frame.buffers[0] as Buffer, frame.cell);
  else text.write(frame.text, frame.cell);
}

/** Milliseconds that a character may take to become whole once its cell has ended. */
const REST = 20;

/** The process that runs the cells, seen from the front end. */
export class CellWorker {
  private child?: ChildProcess;
  private started?: Promise<void>;
  /** How many in the cells' code listen for interrupts. */
  guards = 0;
  /** Why it did not start. */
  failure = '';
  private texts: Text[] = [];

  constructor(
    private readonly root: string,
    private readonly folder: string,
    private readonly events: WorkerEvents,
  ) {}

  start(): Promise<void> {
    this.guards = 0;
    this.started = new Promise((resolve) => {
      // Ending the JavaScript of a timer's callback leaves Node's async stack unbalanced, which it would take for a fault.
      const flags = ['--no-force-async-hooks-checks', '--no-warnings'];
      const child = spawn(process.execPath, [...flags, join(__dirname, 'worker', 'main.js'), this.root], {
        cwd: this.folder,
        stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'ipc'],
        serialization: 'advanced',
      });
      this.child = child;
      const decoder = new Decoder();
      let complaint = '';
      const say = (name: string, more = (_: string) => {}) =>
        new Text((text, cell) => {
          more(text);
          this.events.frame({ type: 'stream', cell, name, text });
        });
      // What native code and children print, and what Node says when it dies, does not come through the pipe of frames.
      const note = (text: string) => {
        complaint = (complaint + text).slice(-4000);
      };
      const printed = { stdout: say('stdout'), stderr: say('stderr') };
      const native = { stdout: say('stdout', note), stderr: say('stderr', note) };
      const texts = [printed, native].flatMap((both) => Object.values(both));
      this.texts = texts;
      let ready = false;
      child.stdio[3]?.on('data', (chunk: Buffer) => {
        for (const frame of decoder.push(chunk)) {
          if (frame.type === 'ready') {
            ready = true;
            resolve();
          } else if (frame.type === 'guards') this.guards = frame.count;
          else if (frame.type === 'stream') take(printed[frame.name as 'stdout'], frame);
          else this.events.frame(frame);
        }
      });
      for (const name of ['stdout', 'stderr'] as const)
        child[name]?.on('data', (chunk: Buffer) => native[name].push(chunk, this.events.cell()));
      for (const stream of child.stdio) stream?.on('error', () => {}); // it has died; 'close' tells
      child.on('error', () => {});
      child.on('close', (code, signal) => {
        for (const text of texts) text.end();
        if (this.child !== child) return;
        this.child = undefined;
        // One that dies at once would do so again: the next cell tries anew.
        if (ready) this.events.died({ code, signal, complaint });
        else this.failure = complaint.trim() || `exit code ${code}${signal ? `, ${signal}` : ''}`;
        resolve();
      });
    });
    return this.started;
  }

  /** False where there is no worker to tell: it does not start, and `failure` says why. */
  async tell(message: ToWorker): Promise<boolean> {
    await (this.child ? this.started : this.start());
    if (!this.child?.connected) return false;
    this.child.send(message, () => {});
    return true;
  }

  /** Resolves when all that was written before has been read, whichever pipe it came through. */
  async settled(): Promise<void> {
    const { texts } = this;
    for (let polled = 0; polled < 2; polled++) await turn(); // in between, Node reads what is there
    const waiting = texts.map((text) => text.waiting);
    if (waiting.every((chunk) => chunk === undefined)) return;
    await wait(REST);
    for (const [i, text] of texts.entries()) if (text.waiting === waiting[i]) text.end(); // others are being written to
  }

  /** Lets the library's next native op throw; what was begun around it is cleaned up as after any error. */
  interruptOps(): void {
    (this.child?.stdio[4] as Writable | undefined)?.write('s');
  }

  /** Stops the JavaScript that runs at the moment, whatever it is. */
  terminate(): void {
    (this.child?.stdio[4] as Writable | undefined)?.write('x');
  }

  async close(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    if (child.connected) child.send({ type: 'quit' }, () => {});
    const hard = setTimeout(() => child.kill('SIGKILL'), 500);
    await gone;
    clearTimeout(hard);
  }
}

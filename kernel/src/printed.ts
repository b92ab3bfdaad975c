import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';
import { Complaints } from './complaints';
import type { Frame } from './frames';
import { Text } from './text';

type Name = 'stdout' | 'stderr';
/** Milliseconds that a character may take to become whole once its cell has ended. */
const REST = 20;

/** All text that comes out of a worker: what cells print, and what native code, children and Node print past them. */
export class Printed {
  readonly complaints: Complaints;
  private readonly printed: Record<Name, Text>;
  private readonly native: Record<Name, Text>;
  private readonly texts: Text[];

  constructor(say: (name: string, text: string, cell?: number) => void) {
    this.complaints = new Complaints(say);
    const both = (out: typeof say) => ({
      stdout: new Text((text, cell) => out('stdout', text, cell)),
      stderr: new Text((text, cell) => out('stderr', text, cell)),
    });
    this.printed = both(say);
    this.native = both((name, text, cell) => this.complaints.push(name, text, cell));
    this.texts = [this.printed, this.native].flatMap((texts) => Object.values(texts));
  }

  take({ name, text, buffers, cell }: Frame): void {
    const stream = this.printed[name as Name];
    if (buffers) stream.push(buffers[0] as Buffer, cell);
    else stream.write(text, cell);
  }

  takeNative(name: Name, chunk: Buffer, cell: number): void {
    this.native[name].push(chunk, cell);
  }

  /** Resolves when all that was written before has been read, whichever pipe it came through. */
  async settled(): Promise<void> {
    for (let polled = 0; polled < 2; polled++) await turn(); // in between, Node reads what is there
    this.complaints.settle();
    const waiting = this.texts.map((text) => text.waiting);
    if (waiting.every((chunk) => chunk === undefined)) return;
    await wait(REST);
    for (const [i, text] of this.texts.entries()) if (text.waiting === waiting[i]) text.end(); // others are being written to
  }

  /** Nothing more will come. */
  end(): void {
    for (const text of this.texts) text.end();
  }
}

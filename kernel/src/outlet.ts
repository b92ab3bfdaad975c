import type { Header, NoParent } from './protocol';
import type { Sockets } from './sockets';

const REMEMBERED = 2000;
/** Characters of output in one message. */
const LARGEST = 1 << 20;

/** Where output goes: to the request of its cell. */
export class Outlet {
  /** The requests that output belongs to, by the number of their cell. */
  private readonly parents = new Map<number, Header>();
  private printed?: { cell: number; name: string; texts: string[]; size: number };
  private count = 0;
  /** What comes from nowhere belongs to this cell. */
  last = 0;

  constructor(
    private readonly sockets: Sockets,
    private readonly isRunning: (cell: number) => boolean,
  ) {}

  /** A number for what a message will put out. */
  number(header: Header): number {
    const cell = ++this.count;
    this.parents.set(cell, header);
    for (const old of this.parents.keys())
      if (this.parents.size <= REMEMBERED) break;
      else if (old !== this.last && !this.isRunning(old)) this.parents.delete(old);
    return cell;
  }

  /** The same for a cell that begins. */
  begin(header: Header): number {
    this.last = this.number(header);
    return this.last;
  }

  parentOf(cell: number): Header | NoParent {
    return this.parents.get(cell) ?? {};
  }

  /** Text that comes in one turn of the event loop goes out as one message. */
  print(cell: number, name: string, text: string): void {
    const { printed } = this;
    if (printed && printed.cell === cell && printed.name === name && printed.size < LARGEST) {
      printed.texts.push(text);
      printed.size += text.length;
      return;
    }
    this.flush();
    this.printed = { cell, name, texts: [text], size: text.length };
    setImmediate(() => this.flush());
  }

  flush(): void {
    if (!this.printed) return;
    const { cell, name, texts } = this.printed;
    this.printed = undefined;
    void this.sockets.publish('stream', { name, text: texts.join('') }, this.parentOf(cell));
  }
}

import { randomUUID } from 'node:crypto';
import type { Message } from './protocol';

/** What a cell wants to know from the reader. */
interface Question {
  cell: number;
  /** The request that the cell came with: its sender is asked. */
  message: Message;
  /** The worker's number for it. */
  id: number;
  content: { prompt: string; password: boolean };
  /** Of the message that asks it, once it was sent. */
  sent?: string;
}

const REMEMBERED = 1000;

/** Questions to the reader. One is out at a time, since not every front end says which one it answers. */
export class Questions {
  private open: Question[] = [];
  /** Messages that asked what nobody wants to know any more. */
  private readonly past = new Set<string>();

  constructor(
    private readonly send: (message: Message, content: Question['content'], id: string) => void,
    private readonly tell: (id: number, value: string) => void,
  ) {}

  ask(question: Question): void {
    this.open.push(question);
    this.next();
  }

  /** An answer to a question that is no more is nobody's, where the front end says what it answers. */
  answer({ parent, content }: Message): void {
    const [first] = this.open;
    if (!first || this.past.has(String(parent.msg_id))) return;
    this.close((question) => question === first);
    this.tell(first.id, String(content.value ?? ''));
    this.next();
  }

  /** Without those of a cell that has ended, or of all. */
  drop(cell?: number): void {
    this.close((question) => cell === undefined || question.cell === cell);
    this.next();
  }

  private close(which: (question: Question) => boolean): void {
    for (const { sent } of this.open.filter(which)) if (sent) this.past.add(sent);
    if (this.past.size > REMEMBERED) this.past.delete(this.past.keys().next().value as string);
    this.open = this.open.filter((question) => !which(question));
  }

  private next(): void {
    const [first] = this.open;
    if (!first || first.sent) return;
    first.sent = randomUUID();
    this.send(first.message, first.content, first.sent);
  }
}

import type { Header, Message, NoParent } from './protocol';
import type { Asked, Sockets } from './sockets';

/** The comm target by which a page asks for what it has missed (extension/src/missed is the other end). */
export const CELLS_COMM = 'tunebook.cells';
/** Characters of output that are remembered, and of one text. */
const MOST = 32 << 20;
const LONGEST_TEXT = 2 << 20;

interface Output {
  output_type: string;
  transient?: { display_id?: string };
  [field: string]: unknown;
}

/** A cell that a page asked to be run, and what has come of it. */
interface Entry {
  id: string;
  header: Header;
  state: 'waiting' | 'running' | 'over';
  count: number | null;
  outputs: Output[];
  size: number;
  /** Messages published for it, and how many of them a page had when it wrote its file. */
  told: number;
  saved: number;
  clearsNext: boolean;
  /** What it waits to be told by its reader. */
  question?: Asked;
  /** Comms of pages that have it from the one that is gone. */
  heirs: Set<string>;
}

/**
 * What became of cells, for pages that were not there: Jupyter sends output to whoever listens, and a page that is loaded anew knows
 * nothing of the requests of the one before. It is told of each cell that runs, waits, asks, or has put out more than a saved file holds.
 */
export class Journal {
  private readonly cells = new Map<string, Entry>();
  private readonly requests = new Map<string, Entry>();
  private readonly pages = new Set<string>();

  constructor(private readonly sockets: Sockets) {}

  /** A request to run a cell has come. */
  asked({ header, metadata, content }: Message): void {
    const id = metadata.cellId;
    if (typeof id !== 'string' || content.silent) return;
    this.forget(this.cells.get(id));
    const entry: Entry = {
      ...{ id, header, state: 'waiting', count: null, outputs: [] },
      ...{ size: 0, told: 0, saved: -1, clearsNext: false, heirs: new Set<string>() },
    };
    this.cells.set(id, entry);
    this.requests.set(header.msg_id, entry);
  }

  /** A message is published. */
  take(type: string, content: Record<string, unknown>, parent: Header | NoParent): void {
    const entry = this.requests.get(parent.msg_id ?? '');
    if (entry) entry.told++;
    switch (type) {
      case 'execute_input':
        if (entry) Object.assign(entry, { state: 'running', count: content.execution_count });
        return;
      case 'status':
        if (entry && content.execution_state === 'idle') Object.assign(entry, { state: 'over', question: undefined });
        return;
      case 'display_data':
        this.update(entry, content as Output);
        if (entry) this.add(entry, { ...content, output_type: type });
        return;
      case 'stream':
      case 'execute_result':
      case 'error':
        if (entry) this.add(entry, { ...content, output_type: type });
        return;
      case 'update_display_data':
        this.update(entry, content as Output);
        return;
      case 'clear_output':
        if (!entry) return;
        if (content.wait) entry.clearsNext = true;
        else this.clear(entry);
    }
  }

  /** A cell asks its reader something: by a message to the page that sent it, and to those that have it now. */
  asks({ msg_id: request }: Header, question: Asked): void {
    const entry = this.requests.get(request);
    if (!entry) return;
    this.ask(entry, question);
  }

  /** Pages that have the cell now are told of its question, or that it waits for no answer any more. */
  private ask(entry: Entry, question: Asked | undefined): void {
    entry.question = question;
    const asked = { request: entry.header.msg_id, question: question ?? null };
    for (const comm_id of entry.heirs) void this.sockets.publish('comm_msg', { comm_id, data: { asked } }, {});
  }

  /** A reader has answered; not every front end says what. */
  answered({ parent }: Message): void {
    for (const entry of this.cells.values())
      if (entry.question && (!parent.msg_id || parent.msg_id === entry.question.id)) this.ask(entry, undefined);
  }

  private add(entry: Entry, output: Output): void {
    if (entry.clearsNext) this.clear(entry);
    const last = entry.outputs.at(-1);
    if (output.output_type === 'stream' && last?.output_type === 'stream' && last.name === output.name) {
      entry.size -= sizeOf(last);
      last.text = `${last.text}${output.text}`.slice(-LONGEST_TEXT);
      entry.size += sizeOf(last);
    } else {
      entry.outputs.push(output);
      entry.size += sizeOf(output);
    }
    this.prune();
  }

  private update(by: Entry | undefined, { data, metadata, transient }: Output): void {
    const id = transient?.display_id;
    if (id === undefined) return;
    for (const entry of this.cells.values()) {
      const meant = entry.outputs.filter((output) => output.transient?.display_id === id);
      if (meant.length && entry !== by) entry.told++;
      for (const output of meant) {
        entry.size -= sizeOf(output);
        Object.assign(output, { data, metadata });
        entry.size += sizeOf(output);
      }
    }
    this.prune();
  }

  private clear(entry: Entry): void {
    Object.assign(entry, { outputs: [], size: 0, clearsNext: false });
  }

  private forget(entry: Entry | undefined): void {
    if (!entry) return;
    this.cells.delete(entry.id);
    this.requests.delete(entry.header.msg_id);
  }

  /** What a file holds is forgotten first, then the oldest; cells that run are not. */
  private prune(): void {
    const over = [...this.cells.values()].filter(({ state }) => state === 'over');
    let size = 0;
    for (const entry of this.cells.values()) size += entry.size;
    for (const entry of [...over.filter(isSaved), ...over.filter((entry) => !isSaved(entry))]) {
      if (size <= MOST) return;
      size -= entry.size;
      this.forget(entry);
    }
  }

  /** Whether a comm message is for the journal, which has taken it then. */
  comm({ header, content }: Message): boolean {
    const { comm_id: id, data } = content;
    if (header.msg_type === 'comm_open' && content.target_name === CELLS_COMM) {
      this.pages.add(id);
      this.tell(id, header, data?.here);
      return true;
    }
    if (!this.pages.has(id)) return false;
    if (header.msg_type === 'comm_close') {
      this.pages.delete(id);
      for (const { heirs } of this.cells.values()) heirs.delete(id);
    } else this.keep(data?.saved);
    return true;
  }

  /** A page has written its file with so many messages of each of these requests. */
  private keep(saved: unknown): void {
    if (typeof saved !== 'object' || saved === null) return;
    for (const [request, count] of Object.entries(saved)) {
      const entry = this.requests.get(request);
      if (entry && typeof count === 'number') entry.saved = count;
    }
  }

  /** Tells a page; cells of pages that are `here` too are theirs. */
  private tell(comm_id: string, page: Header, here: unknown): void {
    const others = [page.session, ...(Array.isArray(here) ? here : [])];
    const missed = [...this.cells.values()].filter((entry) => !others.includes(entry.header.session) && !isSaved(entry));
    for (const { heirs } of missed) heirs.add(comm_id);
    const cells = missed.map(({ id, header, state, count, outputs, told, question }) => ({
      ...{ id, request: header.msg_id, session: header.session, state, count, outputs, told, question },
    }));
    void this.sockets.publish('comm_msg', { comm_id, data: { cells } }, page);
  }
}

const isSaved = ({ state, told, saved }: Entry) => state === 'over' && told === saved;

function sizeOf({ output_type, text, data }: Output): number {
  if (output_type === 'stream') return String(text).length;
  let size = 500;
  for (const value of Object.values((data ?? {}) as Record<string, unknown>))
    size += typeof value === 'string' ? value.length : JSON.stringify(value).length;
  return size;
}

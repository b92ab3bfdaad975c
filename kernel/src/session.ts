import { setTimeout as wait } from 'node:timers/promises';
import { absenceAdvice } from './advice';
import type { Completion } from './completions';
import { CellSyntaxError, convert, convertExpressions } from './convert';
import type { Frame } from './frames';
import { askedName, Helped } from './helped';
import { Language } from './language';
import { LocalModules } from './local';
import { magicOf, perform } from './magics';
import { Offers, stringAt } from './offers';
import type { Outcome } from './outcome';
import { Outlet } from './outlet';
import type { Header, Message, NoParent } from './protocol';
import { Questions } from './questions';
import { interrupted, plainError, Sources, syntaxError, typeErrors } from './report';
import { type Asked, checkpointIn, type Ended, type Result, type Running } from './running';
import type { Sockets } from './sockets';
import { CellWorker } from './worker';

/** How long a cell that listens for interrupts may take to end itself once it has been told to end at once. */
const GRACE = 3000;
/** How long a worker may take to end a cell before it is replaced, which is to be done within 2 s. */
const LAST = 1500;

/** The notebook's cells: their types, their values (in the worker), and what becomes of their output. */
export class Session {
  readonly language: Language;
  private readonly worker: CellWorker;
  private readonly sources = new Sources();
  private readonly locals: LocalModules;
  private readonly running = new Map<number, Running>();
  /** Of the requests that are not in the worker yet: they wait for the type checker or for npm. */
  private readonly preparing = new Set<AbortController>();
  private readonly outlet: Outlet;
  private readonly names = new Set<string>();
  private readonly questions: Questions;
  private readonly helped: Helped;
  private readonly offers: Offers;
  private readonly comms = new Map<string, string>();
  /** The last checkpoint that a run in this notebook told of. */
  private checkpoint?: string;

  constructor(
    private readonly folder: string,
    root: string,
    private readonly sockets: Sockets,
    /** Whoever is on the cell of this request wants what waits behind it not to be run. */
    private readonly drop: (message: Message) => void,
  ) {
    this.language = new Language(folder, root);
    this.helped = new Helped(this.language);
    this.offers = new Offers(folder, (id, asked) => void this.worker.tell({ type: 'values', id, asked }));
    this.locals = new LocalModules(folder);
    this.outlet = new Outlet(sockets, (cell) => this.running.has(cell));
    this.questions = new Questions(
      (message, content, id) => void sockets.askInput(message, { id, ...content }),
      (id, value) => void this.worker.tell({ type: 'answer', id, value }),
    );
    this.worker = new CellWorker(root, folder, {
      frame: (frame) => this.take(frame),
      cell: () => this.outlet.last,
      died: (why) => this.died(why),
    });
  }

  async start(): Promise<void> {
    this.language.start();
    await this.worker.start();
  }

  /** What the running cells were asked by. */
  get busyWith(): Header | undefined {
    return [...this.running.values()][0]?.message.header;
  }

  /** Runs a cell; what it printed is on its way when this resolves. `count`: the number of its prompt, where it has one. */
  async execute(message: Message, code: string, expressions: Record<string, string>, count?: number): Promise<Result> {
    const stop = new AbortController();
    this.preparing.add(stop);
    try {
      return await this.perform({ message, code, expressions, count, stop });
    } finally {
      this.preparing.delete(stop);
      await this.worker.settled();
      await this.helped.settled();
      this.outlet.flush();
    }
  }

  private async perform(asked: Asked): Promise<Result> {
    const { message, stop } = asked;
    const name = this.names.has('help') ? undefined : askedName(asked.code);
    if (name) return this.helped.answer(name);
    const magic = await magicOf(asked.code);
    if (!magic) return this.run(asked);
    const cell = this.outlet.begin(message.header);
    return perform(magic, {
      folder: this.folder,
      stop: stop.signal,
      say: (text) => this.take({ type: 'stream', cell, name: 'stdout', text }),
      reset: () => this.reset(),
      rest: () => this.perform({ ...asked, code: magic.rest }),
    });
  }

  private async run({ message, code, expressions, count, stop }: Asked): Promise<Result> {
    const cell = this.outlet.begin(message.header);
    const number = count ?? -cell;
    const file = `cell-${number}.ts`;
    const stopped = new Promise<'stopped'>((resolve) => stop.signal.addEventListener('abort', () => resolve('stopped'), { once: true }));
    try {
      // Side by side: each waits for a process of its own. What cannot be parsed fails both; the converter says it better.
      const checking = this.language.check(number, code, stop.signal).catch((error: Error) => error);
      const converted = await convert(code, file, this.names);
      const checked = await Promise.race([checking, stopped]);
      if (checked instanceof Error) throw checked;
      if (checked === 'stopped') return { error: interrupted };
      if (checked.complaints.length) {
        this.language.ended(number, converted.names, false);
        return { error: typeErrors(code, checked.complaints) };
      }
      const known = new Set([...this.names, ...converted.names]);
      const asked = await convertExpressions(expressions, known);
      // From here on an interrupt finds the cell among the running ones: nothing is waited for in between.
      if (stop.signal.aborted) return { error: interrupted };
      this.preparing.delete(stop);
      checked.keep();
      this.sources.add(file, code, converted.map);
      for (const name of converted.names) this.names.add(name);
      const ended = new Promise<Ended>((done) => this.running.set(cell, { message, interrupts: 0, done }));
      if (!(await this.worker.tell({ type: 'run', cell, code: converted.code, file, expressions: asked }))) {
        return { error: plainError('WorkerDied', `The process that runs the cells does not start: ${this.worker.failure}`) };
      }
      const { outcome, results } = await ended;
      if (!outcome.ok && /^(Type|Reference)Error$/.test(outcome.ename)) outcome.evalue += absenceAdvice(code, this.language.failed);
      this.language.ended(number, converted.names, outcome.ok);
      if (outcome.ok) return { data: outcome.data, results: this.sources.answers(results) };
      return { error: /^Interrupted(Error)?$/.test(outcome.ename) ? interrupted : this.sources.thrown(outcome) };
    } catch (error) {
      if (error instanceof CellSyntaxError) return { error: syntaxError(code, error) };
      throw error;
    } finally {
      this.running.delete(cell);
    }
  }

  /**
   * The first interrupt belongs to whoever in a cell listens for it (a trainer saves and stops). The second, or one that nobody
   * listens for, ends the cell: by itself if it yields or comes to a native op soon, else by stopping its JavaScript.
   */
  interrupt(): void {
    for (const stop of this.preparing) stop.abort();
    const heard = this.worker.guards > 0;
    if (heard && this.running.size) void this.worker.tell({ type: 'signal', cells: [...this.running.keys()] });
    for (const [cell, running] of this.running) {
      running.interrupts++;
      if (heard && running.interrupts === 1) continue;
      if (running.interrupts > (heard ? 2 : 1)) continue; // it is being ended
      void this.end(cell, heard ? GRACE : 0);
    }
  }

  /** Tells the worker to end a cell: it does so whatever the cell is at, unless that is native code, which nothing ends but its process. */
  private async end(cell: number, grace: number): Promise<void> {
    void this.worker.tell({ type: 'ops' });
    if (grace) await wait(grace);
    const running = this.running.get(cell);
    if (!running) return;
    running.ending = true;
    if (!(await this.worker.tell({ type: 'end', cell }))) return;
    await wait(LAST);
    if (this.running.has(cell))
      this.worker.replace(`code that cannot be interrupted kept it busy for ${LAST / 1000} s after it was told to end the cell`);
  }

  /** Prints a line for the cell of a request. */
  say({ header }: Message, text: string): void {
    void this.sockets.publish('stream', { name: 'stdout', text: `${text}\n` }, header);
  }

  /** What the worker has to say. */
  private take(frame: Frame): void {
    const cell = frame.cell ?? this.outlet.last;
    const parent: Header | NoParent = this.outlet.parentOf(cell);
    const { sockets } = this;
    if (frame.type !== 'stream') this.outlet.flush();
    switch (frame.type) {
      case 'stream':
        this.outlet.print(cell, frame.name, frame.text);
        return;
      case 'display': {
        const { data, metadata, transient } = frame;
        this.checkpoint = checkpointIn(data) ?? this.checkpoint;
        return void sockets.publish(frame.update ? 'update_display_data' : 'display_data', { data, metadata, transient }, parent);
      }
      case 'clear':
        return void sockets.publish('clear_output', { wait: Boolean(frame.wait) }, parent);
      case 'comm': {
        const { comm_id: id, target_name: target } = frame.content;
        if (frame.kind === 'comm_open') this.comms.set(id, target);
        if (frame.kind === 'comm_close') this.comms.delete(id);
        return void sockets.publish(frame.kind, frame.content, parent, { metadata: frame.metadata, buffers: frame.buffers });
      }
      case 'input':
        this.ask(cell, frame);
        return;
      case 'offered':
        return void this.offers.answer(frame.id, frame.offered);
      case 'help': {
        const show = (data: object) => void sockets.publish('display_data', { data, metadata: {}, transient: {} }, parent);
        return void this.helped.call(String(this.running.get(cell)?.message.content.code), String(frame.name), show);
      }
      case 'load':
        return void this.locals.load(frame.folder, frame.specifier).then(
          (value) => this.worker.tell({ type: 'answer', id: frame.id, value }),
          (error) => this.worker.tell({ type: 'answer', id: frame.id, error: error.message }),
        );
      case 'stray': {
        const { traceback } = this.sources.thrown(frame.thrown);
        return void sockets.publish('stream', { name: 'stderr', text: `${frame.what} ${traceback.join('\n')}\n` }, parent);
      }
      case 'drop': {
        const running = this.running.get(cell);
        if (running) this.drop(running.message);
        return;
      }
      case 'done':
        this.done(cell, frame as unknown as Ended);
        return;
    }
  }

  private done(cell: number, { outcome, results }: Ended): void {
    this.questions.drop(cell);
    const running = this.running.get(cell);
    if (running?.ending && !outcome.ok) outcome.ename = 'Interrupted';
    running?.done({ outcome, results });
  }

  private ask(cell: number, { id, prompt, password }: Frame): void {
    const message = this.running.get(cell)?.message;
    if (!message?.content.allow_stdin) {
      const error = message ? 'this front end cannot ask for input' : 'input() works while its cell runs, and not after';
      return void this.worker.tell({ type: 'answer', id, error: `${error}.` });
    }
    this.questions.ask({ cell, message, id, content: { prompt, password } });
  }

  /** What can stand at `offset`: what the types allow; in a string what libraries know of it, and files where nothing is. */
  async complete(code: string, offset: number): Promise<Completion[]> {
    const found = await this.language.complete(code, offset);
    const string = stringAt(code, offset);
    if (!string) return found;
    const known = await this.offers.complete(code, string, found.length > 0);
    return known.length ? known : found;
  }

  /** What the reader typed. */
  answer(message: Message): void {
    this.questions.answer(message);
  }

  /** A comm message of a front end. */
  comm({ header, content, metadata, buffers }: Message): void {
    const { msg_type: kind } = header;
    if (kind === 'comm_open') this.comms.set(content.comm_id, content.target_name);
    if (kind === 'comm_close') this.comms.delete(content.comm_id);
    void this.worker.tell({ type: 'comm', kind, cell: this.outlet.number(header), content, metadata, buffers });
  }

  commsOf(target?: string): Record<string, { target_name: string }> {
    const open = [...this.comms].filter(([, name]) => target === undefined || name === target);
    return Object.fromEntries(open.map(([id, target_name]) => [id, { target_name }]));
  }

  private forget(): void {
    this.names.clear();
    this.questions.drop();
    this.comms.clear();
    this.language.reset();
  }

  private async reset(): Promise<void> {
    await this.worker.close();
    this.forget();
    await this.worker.start();
  }

  /** The worker died: says so where it hurts, and starts a fresh one. */
  private died(why: string): void {
    const saved = this.checkpoint
      ? ` The last checkpoint is in ${this.checkpoint}: train({ resume_from_checkpoint: true }) goes on from there.`
      : '';
    const evalue = `The process that runs the cells is gone: ${why}. A fresh one is ready; values of earlier cells are lost, so run the cells that you need again.${saved}`;
    const outcome: Outcome = { ok: false, ename: 'WorkerDied', evalue, stack: '', carried: [] };
    this.forget();
    void this.worker.start();
    if (!this.running.size) this.take({ type: 'stream', name: 'stderr', text: `${evalue}\n` });
    for (const { done } of this.running.values()) done({ outcome, results: {} });
  }

  async close(): Promise<void> {
    this.language.close();
    await this.worker.close();
  }
}

import { inspect } from 'node:util';
import * as zmq from 'zeromq';
import { Cells } from './cells';
import { type Connection, type Header, type Message, Wire } from './protocol';

/** What tslab's display functions, and libraries that look for them, write through. */
interface DisplayData {
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
  transient: { display_id?: string };
}

type NoParent = Record<string, never>;

/** The Jupyter front end of the kernel: channels, output, interrupts. */
export class Kernel {
  private readonly wire: Wire;
  private readonly cells: Cells;
  private readonly shell = new zmq.Router();
  private readonly control = new zmq.Router();
  private readonly stdin = new zmq.Router();
  private readonly iopub = new zmq.Publisher({ sendHighWaterMark: 0 });
  private readonly heartbeat = new zmq.Reply();
  private queue: Message[] = [];
  /** The shell request being handled. */
  private running?: Header;
  private wake: () => void = () => {};
  private parent: Header | NoParent = {};
  private count = 0;
  private interrupts = 0;
  /** Text waiting to be sent as one stream message. */
  private pending: { name: 'stdout' | 'stderr'; text: string } | undefined;
  private sending: Promise<void> = Promise.resolve();
  private closing = false;

  constructor(
    private readonly connection: Connection,
    folder: string,
  ) {
    this.wire = new Wire(connection.key);
    this.cells = new Cells(folder);
  }

  async start(): Promise<void> {
    const { connection: c } = this;
    const address = (port: number) => `${c.transport}://${c.ip}:${port}`;
    await Promise.all([
      this.shell.bind(address(c.shell_port)),
      this.control.bind(address(c.control_port)),
      this.stdin.bind(address(c.stdin_port)),
      this.iopub.bind(address(c.iopub_port)),
      this.heartbeat.bind(address(c.hb_port)),
    ]);
    this.captureOutput();
    process.on('SIGINT', () => this.interrupted());
    process.on('uncaughtException', (error) => this.write('stderr', `Uncaught ${inspect(error)}\n`));
    process.on('unhandledRejection', (error) => this.write('stderr', `Unhandled rejection: ${inspect(error)}\n`));
    void this.listen(this.shell, (message) => {
      if (message.header.msg_type === 'kernel_info_request' && this.running) return void this.introduce(message, this.running);
      this.queue.push(message);
      this.wake();
    });
    void this.listen(this.control, (message) => void this.handle(message, this.control));
    void this.beat();
    await this.work();
  }

  private async listen(socket: zmq.Router, take: (message: Message) => void): Promise<void> {
    for await (const frames of socket) {
      const message = this.wire.parse(frames);
      if (message) take(message);
    }
  }

  private async beat(): Promise<void> {
    for await (const frames of this.heartbeat) await this.heartbeat.send(frames);
  }

  /** Handles shell requests one after another. */
  private async work(): Promise<void> {
    while (!this.closing) {
      const message = this.queue.shift();
      if (message) await this.handle(message, this.shell);
      else
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
    }
  }

  /** Answers who we are while a cell runs, so that a reloaded page or a second client can connect, and sees it busy. */
  private async introduce(message: Message, running: Header): Promise<void> {
    this.publish('status', { execution_state: 'busy' }, message.header);
    await this.reply(this.shell, message, 'kernel_info_reply', (await this.answer('kernel_info_request', message)) as object);
    this.publish('status', { execution_state: 'idle' }, message.header);
    if (this.running) this.publish('status', { execution_state: 'busy' }, running);
  }

  private async handle(message: Message, socket: zmq.Router): Promise<void> {
    const { msg_type: type } = message.header;
    if (!type.endsWith('_request')) return;
    const onShell = socket === this.shell;
    if (onShell) this.parent = this.running = message.header;
    this.publish('status', { execution_state: 'busy' }, message.header);
    try {
      const content = await this.answer(type, message);
      if (content) await this.reply(socket, message, type.replace('_request', '_reply'), content);
    } catch (error) {
      await this.reply(socket, message, type.replace('_request', '_reply'), {
        status: 'error',
        ename: 'KernelError',
        evalue: String(error),
        traceback: [],
      });
    }
    if (onShell) await new Promise((resolve) => setImmediate(resolve)); // output written in the cell's last turn
    if (onShell) this.running = undefined;
    this.publish('status', { execution_state: 'idle' }, message.header);
    await this.sending;
    if (type === 'shutdown_request') this.exit();
  }

  private async answer(type: string, message: Message): Promise<object | undefined> {
    const { content } = message;
    switch (type) {
      case 'kernel_info_request':
        return {
          status: 'ok',
          protocol_version: '5.4',
          implementation: 'tunebook',
          implementation_version: '0.1.0',
          banner: 'TypeScript (tunebook)',
          language_info: {
            name: 'typescript',
            version: process.version,
            mimetype: 'text/typescript',
            file_extension: '.ts',
            codemirror_mode: { name: 'javascript', typescript: true },
          },
          help_links: [],
        };
      case 'execute_request':
        return this.execute(message);
      case 'complete_request': {
        const { start, end, candidates } = this.cells.complete(String(content.code), Number(content.cursor_pos));
        return { status: 'ok', matches: candidates, cursor_start: start, cursor_end: end, metadata: {} };
      }
      case 'inspect_request': {
        const text = this.cells.inspect(String(content.code), Number(content.cursor_pos));
        return { status: 'ok', found: text !== undefined, data: text === undefined ? {} : { 'text/plain': text }, metadata: {} };
      }
      case 'is_complete_request':
        return this.cells.isComplete(String(content.code));
      case 'history_request':
        return { status: 'ok', history: [] };
      case 'comm_info_request':
        return { status: 'ok', comms: {} };
      case 'interrupt_request':
        this.interrupted();
        return { status: 'ok' };
      case 'shutdown_request':
        return { status: 'ok', restart: Boolean(content.restart) };
      default:
        return undefined;
    }
  }

  private async execute({ header, content }: Message): Promise<object> {
    const {
      code,
      silent = false,
      store_history: store = true,
      stop_on_error: stop = true,
    } = content as { code: string; silent?: boolean; store_history?: boolean; stop_on_error?: boolean };
    if (store && !silent) this.count++;
    if (!silent) this.publish('execute_input', { code, execution_count: this.count }, header);
    this.interrupts = 0;
    const outcome = await this.cells.run(code);
    await new Promise((resolve) => setImmediate(resolve));
    if (outcome.ok) {
      if (outcome.result !== undefined && !silent)
        this.publish('execute_result', { execution_count: this.count, data: bundle(outcome.result), metadata: {} }, header);
      return { status: 'ok', execution_count: this.count, payload: [], user_expressions: {} };
    }
    const { ok: _, ...error } = outcome;
    if (!silent) this.publish('error', error, header);
    if (stop) await this.abortQueued();
    return { status: 'error', execution_count: this.count, ...error };
  }

  /** After an error the cells that were sent along with it are not run. */
  private async abortQueued(): Promise<void> {
    const waiting = this.queue;
    this.queue = [];
    for (const message of waiting) {
      if (message.header.msg_type !== 'execute_request') {
        this.queue.push(message);
        continue;
      }
      this.publish('status', { execution_state: 'busy' }, message.header);
      await this.reply(this.shell, message, 'execute_reply', { status: 'aborted', execution_count: this.count });
      this.publish('status', { execution_state: 'idle' }, message.header);
    }
  }

  /**
   * The first interrupt belongs to whoever in the cell listens for it (a trainer saves and stops). The second, or one that
   * nobody listens for, ends the wait for the cell.
   */
  private interrupted(): void {
    this.interrupts++;
    if (this.interrupts === 1 && process.listenerCount('SIGINT') > 1) return;
    this.cells.interrupt();
  }

  private captureOutput(): void {
    const display = (data: DisplayData, update?: boolean) =>
      this.publish(update ? 'update_display_data' : 'display_data', data, this.parent);
    (require('tslab/dist/jupyter') as { lastWriteDisplayData: unknown }).lastWriteDisplayData = display;
    for (const name of ['stdout', 'stderr'] as const) {
      const stream = process[name] as unknown as { write: unknown };
      stream.write = (chunk: Uint8Array | string, encoding?: unknown, done?: unknown) => {
        this.write(name, typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString());
        const callback = typeof encoding === 'function' ? encoding : done;
        if (typeof callback === 'function') callback();
        return true;
      };
    }
  }

  /** Collects text of one turn of the event loop into one message. */
  private write(name: 'stdout' | 'stderr', text: string): void {
    if (this.pending && this.pending.name !== name) this.flush();
    if (this.pending) this.pending.text += text;
    else {
      this.pending = { name, text };
      setImmediate(() => this.flush());
    }
  }

  private flush(): void {
    const pending = this.pending;
    this.pending = undefined;
    if (pending) this.queueSend('stream', pending, this.parent);
  }

  private publish(type: string, content: object, parent: Header | NoParent): void {
    this.flush();
    this.queueSend(type, content, parent);
  }

  /** zeromq allows one send at a time on a socket. */
  private queueSend(type: string, content: object, parent: Header | NoParent): void {
    const frames = this.wire.frames(type, content, parent, [type]);
    this.sending = this.sending.then(() => this.iopub.send(frames)).catch(() => {});
  }

  private async reply(socket: zmq.Router, message: Message, type: string, content: object): Promise<void> {
    this.flush();
    await this.sending; // a cell's output is out before its reply
    await socket.send(this.wire.frames(type, content, message.header, message.identities));
  }

  private exit(): void {
    this.closing = true;
    this.cells.close();
    setTimeout(() => process.exit(0), 50);
  }
}

/** A value as a front end shows it. A value that knows how (Symbol.for('Jupyter.display')) says so itself. */
function bundle(value: unknown): Record<string, unknown> {
  const show = value && typeof value === 'object' ? (value as Record<symbol, unknown>)[Symbol.for('Jupyter.display')] : undefined;
  if (typeof show === 'function') return show.call(value) as Record<string, unknown>;
  return { 'text/plain': inspect(value) };
}

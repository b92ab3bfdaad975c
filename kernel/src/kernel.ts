import { CellSyntaxError, convert } from './convert';
import { plainOf } from './help';
import { askedName } from './helped';
import { History } from './history';
import { Journal } from './journal';
import { magicOf } from './magics';
import { type Connection, type Message, PROTOCOL } from './protocol';
import { Session } from './session';
import { type Channel, Sockets } from './sockets';

/** Requests that run cells wait for each other; all else is answered at once, also while a cell runs. */
interface Shell {
  queue: Message[];
  working: boolean;
  /** What it is on. */
  current?: Message;
  /** A cell failed: those that were sent along with it are not to be run. */
  failed?: boolean;
  /** Not to be run: sent along with a cell that was told to end. Their senders hear so when it is over, or a page would take it for over too. */
  dropped: Message[];
}

const INFO = {
  status: 'ok',
  protocol_version: PROTOCOL,
  implementation: 'tunebook',
  implementation_version: '0.1.0',
  banner: 'TypeScript (tunebook)',
  language_info: {
    name: 'typescript',
    version: process.versions.node,
    mimetype: 'text/typescript',
    file_extension: '.ts',
    pygments_lexer: 'typescript',
    codemirror_mode: { name: 'javascript', typescript: true },
    nbconvert_exporter: 'script',
  },
  help_links: [{ text: 'TypeScript', url: 'https://www.typescriptlang.org/docs' }],
  debugger: false,
  supported_features: ['kernel subshells'],
};

/** The Jupyter front end of the kernel: takes requests and answers them (https://jupyter-client.readthedocs.io). */
export class Kernel {
  private readonly sockets: Sockets;
  private readonly session: Session;
  private readonly history = new History();
  private readonly journal: Journal;
  private readonly shells = new Map<string | null, Shell>([[null, { queue: [], dropped: [], working: false }]]);
  private count = 0;
  private subshells = 0;

  constructor(connection: Connection, folder: string, root: string) {
    this.sockets = new Sockets(
      connection,
      (...published) => this.journal.take(...published),
      (...asked) => this.journal.asks(...asked),
    );
    this.journal = new Journal(this.sockets);
    this.session = new Session(folder, root, this.sockets, (message) => this.drop((shell) => shell.current === message));
  }

  async start(): Promise<void> {
    process.on('SIGINT', () => this.interrupt());
    process.on('SIGTERM', () => void this.quit());
    await this.sockets.open({
      shell: (message) => this.route(message),
      control: (message) => void this.handle('control', message),
      stdin: (message) => {
        this.journal.answered(message);
        this.session.answer(message);
      },
    });
    void this.sockets.publish('status', { execution_state: 'starting' }, {});
    await this.session.start();
  }

  private route(message: Message): void {
    const { msg_type: type, subshell_id: id } = message.header;
    if (/^comm_(open|msg|close)$/.test(type)) {
      void this.status('busy', message);
      if (!this.journal.comm(message)) this.session.comm(message);
      void this.settle(message);
      return;
    }
    if (type !== 'execute_request') return void this.handle('shell', message);
    const shell = this.shells.get(id ?? null);
    if (!shell) {
      const evalue = `There is no subshell ${id}.`;
      return void this.sockets.reply('shell', message, { status: 'error', ename: 'SubshellError', evalue, traceback: [] });
    }
    this.journal.asked(message);
    shell.queue.push(message);
    if (!shell.working) void this.work(shell);
  }

  /** Runs the cells of a shell one after another. */
  private async work(shell: Shell): Promise<void> {
    shell.working = true;
    for (let message = shell.queue.shift(); message; message = shell.queue.shift()) {
      shell.current = message;
      await this.handle('shell', message, shell);
      shell.current = undefined;
      if (shell.failed) shell.dropped.push(...shell.queue.splice(0));
      await this.abort(shell);
    }
    shell.working = false;
  }

  /** Ends what runs, and drops what waits. */
  private interrupt(): void {
    this.session.interrupt();
    this.drop(() => true);
  }

  /** Drops what waits behind cells that were told to end, though they may end well: a run that is stopped saves and returns. */
  private drop(isMeant: (shell: Shell) => boolean): void {
    for (const shell of this.shells.values()) {
      const { current, queue } = shell;
      if (!current || !queue.length || current.content.stop_on_error === false || !isMeant(shell)) continue;
      const what =
        queue.length === 1
          ? 'The cell that waited behind this one was not run: run it to go on.'
          : `${queue.length} cells that waited behind this one were not run: to go on, select the first of them and choose Run Selected Cell and All Below.`;
      this.session.say(current, what);
      shell.dropped.push(...queue.splice(0));
    }
  }

  private status(execution_state: string, { header }: Message): Promise<void> {
    return this.sockets.publish('status', { execution_state }, header);
  }

  /** Idle again, unless a cell runs: a page shows what it hears last. */
  private async settle(message: Message): Promise<void> {
    await this.status('idle', message);
    const { busyWith } = this.session;
    if (busyWith && busyWith.msg_id !== message.header.msg_id) await this.sockets.publish('status', { execution_state: 'busy' }, busyWith);
  }

  private async handle(channel: Channel, message: Message, shell?: Shell): Promise<void> {
    const { msg_type: type } = message.header;
    if (!type.endsWith('_request')) return;
    void this.status('busy', message);
    let content: object | undefined;
    try {
      content = await this.answer(type, message, shell);
    } catch (error) {
      content = { status: 'error', ename: 'KernelError', evalue: String((error as Error)?.message ?? error), traceback: [] };
    }
    if (content) await this.sockets.reply(channel, message, content);
    await this.settle(message);
    if (type === 'shutdown_request') await this.quit();
  }

  private async answer(type: string, message: Message, shell?: Shell): Promise<object | undefined> {
    const { content } = message;
    const { language } = this.session;
    switch (type) {
      case 'kernel_info_request':
        return INFO;
      case 'execute_request':
        return this.execute(message, shell as Shell);
      case 'complete_request': {
        const place = new Place(String(content.code), Number(content.cursor_pos));
        const found = await this.session.complete(place.code, place.offset);
        const range = { start: found.length ? place.at(found[0].start) : place.cursor, end: place.cursor };
        const types = found.map(({ text, kind }) => ({ ...range, text, type: kind }));
        return {
          status: 'ok',
          matches: found.map(({ text }) => text),
          cursor_start: range.start,
          cursor_end: range.end,
          metadata: { _jupyter_types_experimental: types },
        };
      }
      case 'inspect_request': {
        const place = new Place(String(content.code), Number(content.cursor_pos));
        const text = await language.inspect(place.code, place.offset);
        const data = text === undefined ? {} : { 'text/plain': plainOf(text), 'text/markdown': text };
        return { status: 'ok', found: text !== undefined, data, metadata: {} };
      }
      case 'is_complete_request':
        return isComplete(String(content.code));
      case 'history_request':
        return { status: 'ok', history: this.history.find(content) };
      case 'comm_info_request':
        return { status: 'ok', comms: this.session.commsOf(content.target_name) };
      case 'interrupt_request':
        this.interrupt();
        return { status: 'ok' };
      case 'shutdown_request':
        return { status: 'ok', restart: Boolean(content.restart) };
      case 'create_subshell_request': {
        const id = `subshell-${++this.subshells}`;
        this.shells.set(id, { queue: [], dropped: [], working: false });
        return { status: 'ok', subshell_id: id };
      }
      case 'delete_subshell_request':
        if (!this.shells.delete(content.subshell_id ?? '')) throw new Error(`There is no subshell ${content.subshell_id}.`);
        return { status: 'ok' };
      case 'list_subshell_request':
        return { status: 'ok', subshell_id: [...this.shells.keys()].filter((id) => id !== null) };
      default:
        return { status: 'error', ename: 'KernelError', evalue: `This kernel does not answer ${type}.`, traceback: [] };
    }
  }

  private async execute(message: Message, shell: Shell): Promise<object> {
    const { header, content } = message;
    const { code, silent = false, store_history: store = !silent, stop_on_error: stop = true, user_expressions = {} } = content;
    if (store && !silent) {
      this.count++;
      this.history.add(this.count, code);
    }
    const execution_count = this.count;
    if (!silent) void this.sockets.publish('execute_input', { code, execution_count }, header);
    const result = await this.session.execute(message, code, user_expressions, store && !silent ? this.count : undefined);
    if ('error' in result) {
      if (!silent) void this.sockets.publish('error', result.error, header);
      if (stop) shell.failed = true;
      return { status: 'error', execution_count, ...result.error };
    }
    if (result.data && !silent) void this.sockets.publish('execute_result', { execution_count, data: result.data, metadata: {} }, header);
    return { status: 'ok', execution_count, payload: [], user_expressions: result.results };
  }

  /** Tells those who sent the cells behind one that failed or was stopped that they were not run. */
  private async abort(shell: Shell): Promise<void> {
    shell.failed = false;
    for (const message of shell.dropped.splice(0)) {
      void this.status('busy', message);
      await this.sockets.reply('shell', message, { status: 'aborted' });
      await this.status('idle', message);
    }
  }

  /** Ends the kernel and all its processes. */
  async quit(): Promise<void> {
    await this.session.close();
    await this.sockets.close();
    process.exit(0);
  }
}

/** A cursor, which Jupyter counts in characters and JavaScript in halves of some. */
class Place {
  readonly offset: number;
  constructor(
    readonly code: string,
    readonly cursor: number,
  ) {
    this.offset = [...code].slice(0, cursor).join('').length;
  }

  /** Where JavaScript's `offset` is in Jupyter's characters. */
  at(offset: number): number {
    return [...this.code.slice(0, offset)].length;
  }
}

async function isComplete(code: string): Promise<{ status: string; indent?: string }> {
  if (askedName(code)) return { status: 'complete' };
  const magic = await magicOf(code);
  if (magic) return isComplete(magic.rest);
  try {
    await convert(code, 'cell.ts', new Set());
    return { status: 'complete' };
  } catch (error) {
    if (!(error instanceof CellSyntaxError && error.incomplete)) return { status: 'invalid' };
    const last = code.trimEnd().split('\n').at(-1) ?? '';
    return { status: 'incomplete', indent: `${/^\s*/.exec(last)?.[0]}${/[{([]$/.test(last) ? '  ' : ''}` };
  }
}

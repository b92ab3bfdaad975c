import { type ChildProcess, spawn } from 'node:child_process';
import { dirname, join } from 'node:path';

/** TypeScript's own language server, a native program in the package of the platform. */
export function findServer(): string {
  const typescript = dirname(require.resolve('typescript/package.json'));
  const name = `@typescript/typescript-${process.platform}-${process.arch}/package.json`;
  return join(dirname(require.resolve(name, { paths: [typescript] })), 'lib', process.platform === 'win32' ? 'tsc.exe' : 'tsc');
}

// biome-ignore lint/suspicious/noExplicitAny: results are as the protocol says for each method
type Result = any;

/** A client of a language server over its standard streams (https://microsoft.github.io/language-server-protocol). */
export class LanguageClient {
  private child?: ChildProcess;
  private ready?: Promise<void>;
  private readonly waiting = new Map<number, (result: Result) => void>();
  private parts = Buffer.alloc(0);
  private count = 0;

  constructor(
    private readonly folder: string,
    private readonly root: string,
    /** It has died and was started anew: what was open has to be opened again. */
    private readonly restarted: () => void,
  ) {}

  start(): Promise<void> {
    this.ready ??= (async () => {
      const child = spawn(findServer(), ['--lsp', '--stdio'], { cwd: this.folder, stdio: ['pipe', 'pipe', 'ignore'] });
      this.child = child;
      child.on('error', () => {});
      child.stdin?.on('error', () => {});
      child.stdout?.on('data', (chunk: Buffer) => this.read(chunk));
      child.on('close', () => {
        if (this.child !== child) return;
        this.child = undefined;
        this.ready = undefined;
        this.parts = Buffer.alloc(0);
        for (const resolve of this.waiting.values()) resolve(undefined);
        this.waiting.clear();
        void this.start().then(this.restarted);
      });
      await this.send('initialize', {
        processId: process.pid,
        rootUri: this.root,
        capabilities: {
          textDocument: {
            diagnostic: {},
            hover: { contentFormat: ['markdown', 'plaintext'] },
            completion: { completionItem: { snippetSupport: false } },
          },
        },
      });
      this.write({ method: 'initialized', params: {} });
    })();
    return this.ready;
  }

  private read(chunk: Buffer): void {
    this.parts = Buffer.concat([this.parts, chunk]);
    for (;;) {
      const end = this.parts.indexOf('\r\n\r\n');
      if (end < 0) return;
      const size = Number(/Content-Length: (\d+)/i.exec(this.parts.toString('latin1', 0, end))?.[1]);
      if (this.parts.length < end + 4 + size) return;
      const message = JSON.parse(this.parts.toString('utf8', end + 4, end + 4 + size));
      this.parts = this.parts.subarray(end + 4 + size);
      if (message.method && message.id !== undefined) {
        const result = message.method === 'workspace/configuration' ? message.params.items.map(() => null) : null;
        this.write({ id: message.id, result });
      } else if (message.id !== undefined) {
        this.waiting.get(message.id)?.(message.result);
        this.waiting.delete(message.id);
      }
    }
  }

  private write(message: object): void {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message });
    this.child?.stdin?.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  private send(method: string, params: object): Promise<Result> {
    const id = ++this.count;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.write({ id, method, params });
    });
  }

  /** The result; undefined where the server gives none, dies over it, or is told by `stop` to let it be. */
  async request(method: string, params: object, stop?: AbortSignal): Promise<Result> {
    await this.start();
    const result = this.send(method, params);
    const id = this.count;
    const cancel = () => this.write({ method: '$/cancelRequest', params: { id } });
    stop?.addEventListener('abort', cancel, { once: true });
    return result.finally(() => stop?.removeEventListener('abort', cancel));
  }

  notify(method: string, params: object): void {
    void this.start().then(() => this.write({ method, params }));
  }

  close(): void {
    const { child } = this;
    this.child = undefined;
    child?.kill();
  }
}

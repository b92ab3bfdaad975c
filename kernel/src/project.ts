import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { LanguageClient } from './lsp';

/** What cells may use without an import, beside Node's own; worker/main.ts provides it. */
const GLOBALS = `
declare function input(prompt?: string, options?: { password?: boolean }): Promise<string>;
declare function clearOutput(wait?: boolean): void;
declare function help(what: unknown): void;
`;

/** A TypeScript project in a folder of temporary files that sees the packages and files of a notebook's folder, and its language server. */
export class Project {
  private readonly base = mkdtempSync(join(tmpdir(), 'tunebook-types-'));
  private readonly folder: string;
  readonly client: LanguageClient;
  private installed: string;
  private readonly texts = new Map<string, { version: number; text: string }>();

  constructor(
    private readonly notebook: string,
    root: string,
  ) {
    this.folder = this.mirrorPackages();
    this.installed = this.whenInstalled();
    const here = (path: string) => join(root, path);
    const types = dirname(dirname(require.resolve('@types/node/package.json')));
    const config = {
      compilerOptions: {
        target: 'esnext',
        module: 'preserve',
        moduleResolution: 'bundler',
        lib: ['esnext'],
        types: ['node'],
        typeRoots: [types],
        // What a package declares wins over these, which serve where it is not installed.
        paths: {
          tunebook: ['./node_modules/tunebook', here('lib/index.d.ts')],
          tslab: [require.resolve('tslab').replace(/\.js$/, '.d.ts')],
        },
        rootDirs: ['.', notebook],
        strict: false,
        skipLibCheck: true,
        resolveJsonModule: true,
        allowImportingTsExtensions: true,
        allowJs: true,
        jsx: 'preserve',
        noEmit: true,
      },
      include: ['*.ts'],
    };
    writeFileSync(join(this.folder, 'tsconfig.json'), JSON.stringify(config));
    writeFileSync(join(this.folder, 'globals.d.ts'), GLOBALS);
    this.client = new LanguageClient(this.folder, pathToFileURL(this.folder).href, () => this.reopen());
  }

  /** A folder from which the same packages are found as from the notebook's: one level for each node_modules above it. */
  private mirrorPackages(): string {
    const found: string[] = [];
    for (let at = this.notebook; ; at = dirname(at)) {
      if (existsSync(join(at, 'node_modules'))) found.unshift(join(at, 'node_modules'));
      if (dirname(at) === at) break;
    }
    let folder = this.base;
    for (const [i, path] of found.entries()) {
      symlinkSync(path, join(folder, 'node_modules'));
      if (i === found.length - 1 && path === join(this.notebook, 'node_modules')) return folder;
      folder = join(folder, 'in');
      mkdirSync(folder);
    }
    return folder;
  }

  /** Changes with what npm does there. */
  private whenInstalled(): string {
    return ['node_modules', 'node_modules/.package-lock.json']
      .map((name) => statSync(join(this.notebook, name), { throwIfNoEntry: false })?.mtimeMs)
      .join();
  }

  /** Takes note of packages that were installed beside the notebook, and says whether there were any. */
  packagesChanged(): boolean {
    const installed = this.whenInstalled();
    if (installed === this.installed) return false;
    this.installed = installed;
    const link = join(this.folder, 'node_modules');
    const target = join(this.notebook, 'node_modules');
    if (!existsSync(link) && existsSync(target)) symlinkSync(target, link);
    this.changed([{ path: join(this.folder, 'tsconfig.json') }]);
    return true;
  }

  /** Whether a file lies in the project alone, and not beside the notebook. */
  isOwn(file: string): boolean {
    return existsSync(join(this.folder, file)) && !existsSync(join(this.notebook, file));
  }

  /** Files beside the notebook are other ones now. */
  changed(files: { path: string; gone?: boolean }[]): void {
    const changes = files.map(({ path, gone }) => ({ uri: pathToFileURL(path).href, type: gone ? 3 : 2 }));
    this.client.notify('workspace/didChangeWatchedFiles', { changes });
  }

  uri(name: string): string {
    return pathToFileURL(join(this.folder, name)).href;
  }

  /** What a file says; '' where it cannot be read. */
  textOf(uri: string): string {
    const path = fileURLToPath(uri);
    const open = dirname(path) === this.folder ? this.texts.get(basename(path)) : undefined;
    if (open) return open.text;
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  }

  put(name: string, text: string): void {
    const before = this.texts.get(name);
    const uri = this.uri(name);
    if (before?.text === text) return;
    const version = (before?.version ?? 0) + 1;
    this.texts.set(name, { version, text });
    if (before) {
      this.client.notify('textDocument/didChange', { textDocument: { uri, version }, contentChanges: [{ text }] });
      return;
    }
    writeFileSync(join(this.folder, name), text);
    this.client.notify('workspace/didChangeWatchedFiles', { changes: [{ uri, type: 1 }] });
    this.client.notify('textDocument/didOpen', { textDocument: { uri, languageId: 'typescript', version, text } });
  }

  drop(name: string): void {
    if (!this.texts.delete(name)) return;
    const uri = this.uri(name);
    this.client.notify('textDocument/didClose', { textDocument: { uri } });
    rmSync(join(this.folder, name), { force: true });
    this.client.notify('workspace/didChangeWatchedFiles', { changes: [{ uri, type: 3 }] });
  }

  private reopen(): void {
    const all = [...this.texts];
    this.texts.clear();
    for (const [name, { text }] of all) this.put(name, text);
  }

  close(): void {
    this.client.close();
    rmSync(this.base, { recursive: true, force: true });
  }
}

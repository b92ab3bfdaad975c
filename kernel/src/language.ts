import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { typeAdvice } from './advice';
import { Watched } from './local';
import { LanguageClient } from './lsp';
import { type Declared, declarations, wordsOf } from './syntax';

/** Something that the type checker says of a cell; line and column from 1. */
export interface Complaint {
  line: number;
  column: number;
  length: number;
  text: string;
}

export interface Completion {
  label: string;
  /** As Jupyter's front ends name kinds. */
  kind: string;
}

interface CellFile {
  number: number;
  declared: Declared[];
  /** Numbers of the cells that it takes names from. */
  from: Set<number>;
}

const KINDS: Record<number, string> = {
  2: 'method',
  3: 'function',
  5: 'property',
  6: 'variable',
  7: 'class',
  8: 'interface',
  9: 'module',
  10: 'property',
  13: 'enum',
  14: 'keyword',
  20: 'enum',
  21: 'constant',
};

/** The cell that is to run, and code that is asked about: changed in place, since that is quicker than a new file. */
const CHECKED = 'checked.ts';
const ASKED = 'asked.ts';
/** Where both find the names of the cells before. */
const NAMES = 'names';
const REMEMBERED = 200;

/** What cells may use without an import, beside Node's own; worker/main.ts provides it. */
const GLOBALS = `
declare function input(prompt?: string, options?: { password?: boolean }): Promise<string>;
declare function clearOutput(wait?: boolean): void;
`;

/**
 * Types across cells. Each cell that ran is a module of a project that exists for this notebook alone, in a folder of temporary
 * files: it imports the names that it uses from the cells that declared them last, and exports its own.
 */
export class Language {
  private readonly base = mkdtempSync(join(tmpdir(), 'tunebook-types-'));
  private readonly folder: string;
  private readonly client: LanguageClient;
  private readonly cells = new Map<number, CellFile>();
  /** The cell that each name was declared in last. */
  private readonly names = new Map<string, { number: number; mutable: boolean }>();
  private readonly texts = new Map<string, { version: number; text: string }>();
  /** Modules without errors that take nothing from files or packages: cells that are run again need no second check. */
  private readonly correct = new Set<string>();
  private readonly locals: Watched;

  constructor(
    private readonly notebook: string,
    root: string,
  ) {
    this.folder = this.mirrorPackages();
    this.locals = new Watched(notebook);
    const here = (path: string) => join(root, path);
    const types = dirname(dirname(require.resolve('@types/node/package.json')));
    const config = {
      compilerOptions: {
        target: 'esnext',
        module: 'esnext',
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

  /** Packages were installed beside the notebook. */
  packagesChanged(): void {
    this.correct.clear();
    const link = join(this.folder, 'node_modules');
    const target = join(this.notebook, 'node_modules');
    if (!existsSync(link) && existsSync(target)) symlinkSync(target, link);
    this.client.notify('workspace/didChangeWatchedFiles', {
      changes: [{ uri: pathToFileURL(join(this.folder, 'tsconfig.json')).href, type: 2 }],
    });
  }

  start(): void {
    void this.client.start();
    this.gather();
    this.put(ASKED, 'export {};');
    this.put(CHECKED, 'export {};');
    void this.complaints(CHECKED); // so that Node's types are read before the first cell
  }

  private uri(name: string): string {
    return pathToFileURL(join(this.folder, name)).href;
  }

  private put(name: string, text: string): void {
    const before = this.texts.get(name);
    const uri = this.uri(name);
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

  private drop(name: string): void {
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

  /**
   * A cell as a module: a line that takes names from cells before, the cell, what it declares. `place`: the module that a name is
   * taken from.
   */
  private module(code: string, declared: Declared[], taken: Iterable<string>, place = (_: number) => NAMES): string {
    const own = new Set(declared.map((d) => d.name));
    const imports = new Map<string, string[]>();
    const variables: string[] = [];
    for (const name of taken) {
      const found = this.names.get(name);
      if (!found || own.has(name)) continue;
      const module = place(found.number);
      if (found.mutable) variables.push(`declare let ${name}: typeof import("./${module}").${name};`);
      else imports.set(module, [...(imports.get(module) ?? []), name]);
    }
    const head = [...imports].map(([module, names]) => `import { ${names.join(', ')} } from "./${module}";`);
    const toExport = declared.filter((d) => !d.exported).map((d) => d.name);
    return `${[...head, ...variables].join(' ')}\n${code}\nexport { ${toExport.join(', ')} };`;
  }

  /** What the type checker finds wrong in a cell, unless told to `stop`. `keep`: later cells see what it declares. */
  async check(number: number, code: string, stop?: AbortSignal): Promise<{ complaints: Complaint[]; keep: () => void }> {
    const changes = this.locals.changes(code).map(({ path, gone }) => ({ uri: pathToFileURL(path).href, type: gone ? 3 : 2 }));
    if (changes.length) {
      this.correct.clear();
      this.client.notify('workspace/didChangeWatchedFiles', { changes });
    }
    const declared = await declarations(code);
    const from = new Set<number>();
    const words = wordsOf(code);
    // Its own module takes each name from its cell; what is checked, from the one that holds them all.
    const text = this.module(code, declared, words, (n) => {
      from.add(n);
      return `cell-${n}`;
    });
    const declined = /^\s*\/\/\s*@ts-nocheck/.test(code); // Reason: a reader's cell may ask for this; nothing of ours does.
    const unchecked = declined || this.correct.has(text);
    if (!unchecked) this.ask(CHECKED, code, declared, words);
    const complaints = unchecked ? [] : await this.complaints(CHECKED, stop);
    if (!complaints.length && !stop?.aborted && !/\b(import|export|require|declare)\b/.test(code)) this.correct.add(text);
    if (this.correct.size > REMEMBERED) this.correct.delete(this.correct.values().next().value as string);
    const keep = () => {
      if (!declared.length) return;
      this.put(`cell-${number}.ts`, text);
      this.cells.set(number, { number, declared, from });
      for (const { name, mutable } of declared) this.names.set(name, { number, mutable });
      this.forget();
      this.gather();
    };
    return { complaints, keep };
  }

  /** Puts code where it is asked about. It always imports one and the same module: the project's structure stays as it is. */
  private ask(file: string, code: string, declared: Declared[], names: Iterable<string>): void {
    this.put(file, `import "./${NAMES}"; ${this.module(code, declared, names)}`);
  }

  /** All names in one module. */
  private gather(): void {
    const cells = new Map<number, string[]>();
    for (const [name, { number }] of this.names) cells.set(number, [...(cells.get(number) ?? []), name]);
    const lines = [...cells].map(([number, names]) => `export { ${names.join(', ')} } from "./cell-${number}";`);
    this.put(`${NAMES}.ts`, [...lines, 'export {};'].join('\n'));
  }

  private async complaints(file: string, stop?: AbortSignal): Promise<Complaint[]> {
    const result = await this.client.request('textDocument/diagnostic', { textDocument: { uri: this.uri(file) } }, stop);
    const ERROR = 1;
    // biome-ignore lint/suspicious/noExplicitAny: a Diagnostic of the protocol
    return (result?.items ?? []).flatMap(({ severity, range: { start, end }, message }: any) =>
      severity === ERROR && start.line > 0
        ? [
            {
              line: start.line,
              column: start.character + 1,
              length: start.line === end.line ? end.character - start.character : 1,
              text: message + typeAdvice(message, this.names.keys()),
            },
          ]
        : [],
    );
  }

  /** Lets go of cells whose names are all declared anew and that no other cell takes names from. */
  private forget(): void {
    const needed = new Set<number>();
    const need = (number: number) => {
      if (needed.has(number)) return;
      needed.add(number);
      for (const before of this.cells.get(number)?.from ?? []) need(before);
    };
    for (const { number } of this.names.values()) need(number);
    for (const number of this.cells.keys())
      if (!needed.has(number)) {
        this.cells.delete(number);
        this.drop(`cell-${number}.ts`);
      }
  }

  /** Puts code that has not run yet where it sees the names, and says where in it `offset` is. */
  private async current(code: string, offset: number, names: Iterable<string>): Promise<object> {
    this.ask(ASKED, code, await declarations(code), names);
    const before = code.slice(0, offset).split('\n');
    return { textDocument: { uri: this.uri(ASKED) }, position: { line: before.length, character: before.at(-1)?.length } };
  }

  async complete(code: string, offset: number): Promise<Completion[]> {
    // Of a member nothing but its object matters.
    const names = /\.\s*[\p{ID_Continue}$]*$/u.test(code.slice(0, offset)) ? wordsOf(code) : this.names.keys();
    const result = await this.client.request('textDocument/completion', await this.current(code, offset, names));
    const typed = /[\p{ID_Continue}$]*$/u.exec(code.slice(0, offset))?.[0].toLowerCase() ?? '';
    // biome-ignore lint/suspicious/noExplicitAny: a CompletionItem of the protocol
    type Item = any;
    // a completion that would add an import cannot do so from here
    const fits = (item: Item) => !item.data?.autoImport && item.label.toLowerCase().startsWith(typed);
    const items: Item[] = (result?.items ?? result ?? []).filter(fits);
    const order = (item: { sortText?: string; label: string }) => item.sortText ?? item.label;
    return items
      .sort((a, b) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0))
      .map(({ label, kind }) => ({ label, kind: KINDS[kind] ?? 'value' }));
  }

  /** What is known of the name at `offset`, as Markdown. */
  async inspect(code: string, offset: number): Promise<string | undefined> {
    const result = await this.client.request('textDocument/hover', await this.current(code, offset, wordsOf(code)));
    const contents = result?.contents;
    return typeof contents === 'string' ? contents : contents?.value;
  }

  /** The cells' values are gone. */
  reset(): void {
    for (const number of this.cells.keys()) this.drop(`cell-${number}.ts`);
    this.cells.clear();
    this.names.clear();
    this.correct.clear();
    this.gather();
  }

  close(): void {
    this.client.close();
    rmSync(this.base, { recursive: true, force: true });
  }
}

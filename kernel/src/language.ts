import { typeAdvice } from './advice';
import { Augmentations, augmentationsOf } from './augment';
import { type Completion, completionsOf } from './completions';
import { type At, Help, type Member, plainOf } from './help';
import { Watched } from './local';
import { commandAdvice } from './magics';
import { Project } from './project';
import { withCells } from './report';
import { type Declared, declared, parseCell, wordsOf } from './syntax';

/** Something that the type checker says of a cell; line and column from 1. */
export interface Complaint {
  line: number;
  column: number;
  length: number;
  text: string;
}

interface CellFile {
  number: number;
  /** Numbers of the cells that it takes names from. */
  from: Set<number>;
}

/** The cell that is to run, and code that is asked about: changed in place, since that is quicker than a new file. */
const CHECKED = 'checked.ts';
const ASKED = 'asked.ts';
/** Where both find the names of the cells before. */
const NAMES = 'names';
const REMEMBERED = 200;

/**
 * Types across cells. Each cell that ran is a module of a project that exists for this notebook alone, in a folder of temporary
 * files: it imports the names that it uses from the cells that declared them last, and exports its own.
 */
export class Language {
  /** The cells that failed, by the names that they were to declare. */
  readonly failed = new Map<string, number>();
  private readonly project: Project;
  private readonly cells = new Map<number, CellFile>();
  /** The cell that each name was declared in last. */
  private readonly names = new Map<string, { number: number; mutable: boolean }>();
  /** Modules without errors that take nothing from files or packages: cells that are run again need no second check. */
  private readonly correct = new Set<string>();
  private readonly locals: Watched;
  private readonly augmented: Augmentations;
  private readonly helper: Help;
  /** Questions are about one file: each waits for the one before it. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(notebook: string, root: string) {
    this.project = new Project(notebook, root);
    this.locals = new Watched(notebook);
    this.augmented = new Augmentations(this.project);
    this.helper = new Help(this.project, (code, offset) => this.current(code, offset, wordsOf(code)));
  }

  start(): void {
    void this.project.client.start();
    this.gather();
    this.project.put(ASKED, 'export {};');
    this.project.put(CHECKED, 'export {};');
    void this.complaints(CHECKED); // so that Node's types are read before the first cell
  }

  /**
   * A cell as a module: a line that takes names from cells before, the cell, what it declares. `place`: the module that a name is
   * taken from.
   */
  private module(code: string, names: Declared[], taken: Iterable<string>, place?: (number: number) => string): string {
    const toExport = names.filter((d) => !d.exported).map((d) => d.name);
    const own = new Set(names.map((d) => d.name));
    return `${this.head(own, taken, place)}\n${code}\nexport { ${toExport.join(', ')} };`;
  }

  private head(own: ReadonlySet<string>, taken: Iterable<string>, place = (_: number) => NAMES): string {
    const imports = new Map<string, string[]>();
    const variables: string[] = [];
    for (const name of taken) {
      const found = this.names.get(name);
      if (!found || own.has(name)) continue;
      const module = place(found.number);
      if (found.mutable) variables.push(`declare let ${name}: typeof import("./${module}").${name};`);
      else imports.set(module, [...(imports.get(module) ?? []), name]);
    }
    return [...[...imports].map(([module, names]) => `import { ${names.join(', ')} } from "./${module}";`), ...variables].join(' ');
  }

  /** What the type checker finds wrong in a cell, unless told to `stop`. `keep`: later cells see what it declares. */
  async check(number: number, code: string, stop?: AbortSignal): Promise<{ complaints: Complaint[]; keep: () => void }> {
    if (this.project.packagesChanged()) this.correct.clear();
    const changes = this.locals.changes(code);
    if (changes.length) {
      this.correct.clear();
      this.project.changed(changes);
    }
    const program = await parseCell(code);
    const names = declared(program);
    const { augmentations, plain } = augmentationsOf(code, program);
    const from = new Set<number>();
    const words = wordsOf(code);
    // Its own module takes each name from its cell; what is checked, from the one that holds them all.
    const place = (n: number) => {
      from.add(n);
      return `cell-${n}`;
    };
    const text = this.module(plain, names, words, place);
    this.augmented.show(augmentations);
    if (augmentations.length) this.project.put(ASKED, 'export {};'); // where they may have been asked about
    const declined = /^\s*\/\/\s*@ts-nocheck/.test(code); // Reason: a reader's cell may ask for this; nothing of ours does.
    const unchecked = declined || this.correct.has(text);
    if (!unchecked) this.ask(CHECKED, code, names, words);
    const found = unchecked ? [] : await this.complaints(CHECKED, stop);
    const complaints = found.map((complaint) => ({ ...complaint, text: complaint.text + commandAdvice(code, complaint) }));
    if (!complaints.length && !stop?.aborted && !/\b(import|export|require|declare)\b/.test(code)) this.correct.add(text);
    if (this.correct.size > REMEMBERED) this.correct.delete(this.correct.values().next().value as string);
    const keep = () => {
      if (!names.length && !augmentations.length) return;
      this.project.put(`cell-${number}.ts`, text);
      this.cells.set(number, { number, from });
      for (const { name, mutable } of names) this.names.set(name, { number, mutable });
      if (augmentations.length) {
        this.correct.clear();
        this.augmented.add(number, this.head(new Set(), wordsOf(augmentations.map((part) => part.text).join(' ')), place), augmentations);
      }
      this.forget();
      this.gather();
    };
    return { complaints, keep };
  }

  /** Puts code where it is asked about. It always imports one and the same module: the project's structure stays as it is. */
  private ask(file: string, code: string, names: Declared[], taken: Iterable<string>): void {
    this.project.put(file, `import "./${NAMES}"; ${this.module(code, names, taken)}`);
  }

  /** All names in one module. */
  private gather(): void {
    const cells = new Map<number, string[]>();
    for (const [name, { number }] of this.names) cells.set(number, [...(cells.get(number) ?? []), name]);
    const lines = [...cells].map(([number, names]) => `export { ${names.join(', ')} } from "./cell-${number}";`);
    this.project.put(`${NAMES}.ts`, [...lines, 'export {};'].join('\n'));
  }

  private async complaints(file: string, stop?: AbortSignal): Promise<Complaint[]> {
    const result = await this.project.client.request('textDocument/diagnostic', { textDocument: { uri: this.project.uri(file) } }, stop);
    const ERROR = 1;
    // biome-ignore lint/suspicious/noExplicitAny: a Diagnostic of the protocol
    return (result?.items ?? []).flatMap(({ severity, range: { start, end }, message }: any) =>
      severity === ERROR && start.line > 0
        ? [
            {
              line: start.line,
              column: start.character + 1,
              length: start.line === end.line ? end.character - start.character : 1,
              text: withCells(message) + typeAdvice(message, this.names.keys(), this.failed),
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
    for (const number of this.augmented.numbers) need(number);
    for (const number of this.cells.keys())
      if (!needed.has(number)) {
        this.cells.delete(number);
        this.project.drop(`cell-${number}.ts`);
      }
  }

  /** Puts code that has not run yet where it sees the names, and says where in it `offset` is. */
  private async current(code: string, offset: number, names: Iterable<string>): Promise<At> {
    this.ask(ASKED, code, declared(await parseCell(code)), names);
    const before = code.slice(0, offset).split('\n');
    return { textDocument: { uri: this.project.uri(ASKED) }, position: { line: before.length, character: before.at(-1)?.length ?? 0 } };
  }

  private inTurn<T>(ask: () => Promise<T>): Promise<T> {
    const answer = this.turn.then(ask);
    this.turn = answer.catch(() => {});
    return answer;
  }

  complete(code: string, offset: number): Promise<Completion[]> {
    return this.inTurn(() => this.completions(code, offset));
  }

  private async completions(code: string, offset: number): Promise<Completion[]> {
    // Of a member nothing but its object matters.
    const names = /\.\s*[\p{ID_Continue}$]*$/u.test(code.slice(0, offset)) ? wordsOf(code) : this.names.keys();
    const result = await this.project.client.request('textDocument/completion', await this.current(code, offset, names));
    return completionsOf(result, code, offset, 1, (file) => this.project.isOwn(file));
  }

  /** What is known of what stands at `offset`, as Markdown. */
  inspect(code: string, offset: number): Promise<string | undefined> {
    return this.inTurn(() => this.helper.about(code, offset));
  }

  /** The same of a name, for an output; undefined where no cell knows it. */
  async help(name: string): Promise<Record<string, string> | undefined> {
    const text = await this.inspect(name, name.length);
    return text === undefined ? undefined : { 'text/plain': plainOf(text), 'text/markdown': text };
  }

  /** The methods of a class that a cell knows by this name. */
  methods(path: string): Promise<Member[]> {
    return this.inTurn(() => this.helper.methods(`InstanceType<typeof ${path}>`));
  }

  /** The options of a function or a class that a cell knows by this name; none where it has none. */
  options(path: string, isClass: boolean): Promise<Member[]> {
    return this.inTurn(async () => (await this.helper.options(path, isClass)) ?? []);
  }

  /** A cell has ended: what depends on the names of one that failed is told of it. Cells without a prompt are not spoken of. */
  ended(number: number, names: Iterable<string>, ok: boolean): void {
    for (const name of names)
      if (ok) this.failed.delete(name);
      else if (number > 0) this.failed.set(name, number);
  }

  /** The cells' values are gone. */
  reset(): void {
    this.failed.clear();
    for (const number of this.cells.keys()) this.project.drop(`cell-${number}.ts`);
    this.augmented.reset();
    this.cells.clear();
    this.names.clear();
    this.correct.clear();
    this.gather();
  }

  close(): void {
    this.project.close();
  }
}

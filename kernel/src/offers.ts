import { readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Completion } from './completions';
import { callAround, nameAt } from './help';

/** What a string is that is being written: what libraries in the worker are asked for values by. */
export interface Asked {
  /** What it is an argument of, as it is called there: 'AutoTokenizer.from_pretrained'. */
  callee?: string;
  /** Which of its arguments, from 0. */
  argument?: number;
  /** The property whose value it is, or is in. */
  option?: string;
  /** The name of what it is an index of: dataset['...']. */
  index?: string;
}

/** What a library offers: values, and whether it can be a path as well. */
export interface Offered {
  values: string[];
  files?: boolean;
}

interface Written {
  /** Where its text begins. */
  start: number;
  text: string;
}

/** For the worker's answer, which may be in the middle of something, in ms. */
const PATIENCE = 400;
const MOST = 200;

/** The string that is being written at `offset`; undefined outside of strings. */
export function stringAt(code: string, offset: number): Written | undefined {
  const before = code.slice(0, offset);
  const parts = /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:\\.|[^'\\\n])*('|$)|"(?:\\.|[^"\\\n])*("|$)|`(?:\\.|[^`\\])*(`|$)/g;
  for (const match of before.matchAll(parts)) {
    const [all] = match;
    const isOpen = !/^\//.test(all) && match.index + all.length === offset && (all.length === 1 || !all.endsWith(all[0]));
    if (isOpen && !all.includes('${')) return { start: match.index + 1, text: all.slice(1) };
  }
  return undefined;
}

/** What stands around the string that begins at `start`. */
export function askedAt(code: string, start: number): Asked {
  const before = code.slice(0, start - 1);
  const indexed = /[\p{ID_Continue}$)]\s*\[\s*$/u.test(before) && nameAt(before, before.replace(/\s*\[\s*$/, '').length);
  if (indexed) return { index: indexed.path };
  const option = /([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*:\s*(?:\[[^\][{}()]*)?$/u.exec(before)?.[1];
  const end = callAround(code, start - 1);
  const callee = end === undefined ? undefined : nameAt(code, end)?.path.replace(/\s/g, '');
  if (option || end === undefined) return { callee, option };
  // Commas between the call's bracket and here, but those inside of other brackets.
  let given = before.slice(code.indexOf('(', end) + 1).replace(/(['"`])(?:\\.|(?!\1)[\s\S])*\1/g, '');
  for (let last = ''; last !== given; ) {
    last = given;
    given = given.replace(/\([^()]*\)|\[[^\][]*\]|\{[^{}]*\}/g, '');
  }
  return { callee, argument: given.split(',').length - 1 };
}

/** Files and folders whose path from `folder` begins as `text` does. */
export function filesOf(folder: string, text: string): string[] {
  const typed = text.slice(0, text.lastIndexOf('/') + 1);
  const name = text.slice(typed.length);
  const from = resolve(folder, typed.replace(/^~(?=\/)/, homedir()) || '.');
  try {
    return readdirSync(from)
      .filter((file) => file.startsWith(name) && (name.startsWith('.') || !file.startsWith('.')))
      .sort()
      .slice(0, MOST)
      .map((file) => typed + file + (statSync(join(from, file), { throwIfNoEntry: false })?.isDirectory() ? '/' : ''));
  } catch {
    return []; // there is no such folder, or none that may be read
  }
}

/** Values for strings: what the libraries in the worker know, and files. */
export class Offers {
  private readonly waiting = new Map<number, (offered?: Offered) => void>();
  private count = 0;

  /** `ask` puts a question to the worker. */
  constructor(
    private readonly folder: string,
    private readonly ask: (id: number, asked: Asked) => void,
  ) {}

  /** `typed`: the types say what it can be; only values that a library knows take their place then, and no files. */
  async complete(code: string, { start, text }: Written, typed: boolean): Promise<Completion[]> {
    const asked = askedAt(code, start);
    const offered = await this.known(asked);
    const values = (offered?.values ?? []).filter((value) => value.toLowerCase().startsWith(text.toLowerCase())).slice(0, MOST);
    const files = typed || asked.index !== undefined || (offered && !offered.files) ? [] : filesOf(this.folder, text);
    const found = [...values.map((value) => [value, 'value']), ...files.map((file) => [file, 'path'])];
    return [...new Map(found.map(([value, kind]) => [value, { text: value, start, kind }])).values()];
  }

  /** The worker's answer. */
  answer(id: number, offered?: Offered): void {
    this.waiting.get(id)?.(offered);
    this.waiting.delete(id);
  }

  private known(asked: Asked): Promise<Offered | undefined> {
    const id = ++this.count;
    return new Promise((resolve) => {
      const late = setTimeout(() => this.answer(id), PATIENCE);
      this.waiting.set(id, (offered) => {
        clearTimeout(late);
        resolve(offered);
      });
      this.ask(id, asked);
    });
  }
}

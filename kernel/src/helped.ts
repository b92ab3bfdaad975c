import type { Language } from './language';
import { plainError } from './report';
import type { Result } from './running';

const NAME = /[\p{ID_Start}$_][\p{ID_Continue}$]*(?:\s*\.\s*[\p{ID_Start}$_][\p{ID_Continue}$]*)*/u.source;
const WHOLE = new RegExp(`^\\s*(?:\\?{1,2}\\s*(${NAME})|(${NAME})\\s*\\?{1,2}|help\\s*\\(\\s*(${NAME})\\s*\\)\\s*;?)\\s*$`, 'u');
const CALLS = new RegExp(`\\bhelp\\s*\\(\\s*(${NAME})\\s*\\)`, 'gu');

/** The name that a cell asks about and does nothing else: `?SFTConfig`, `SFTConfig?`, `help(SFTConfig)`. */
export function askedName(code: string): string | undefined {
  const plain = code.replace(/^\s*\/\/.*$/gm, '');
  const [, before, behind, called] = plain.match(WHOLE) ?? [];
  return before ?? behind ?? called;
}

/** Answers what cells ask about names with what their tooltips say. */
export class Helped {
  private readonly pending = new Set<Promise<void>>();

  constructor(private readonly language: Language) {}

  /** The answer to a cell that asks for nothing else. */
  async answer(name: string): Promise<Result> {
    const data = await this.language.help(name);
    if (data) return { data, results: {} };
    return { error: plainError('NameError', `There is nothing known of '${name}': no cell that ran declares or imports it.`) };
  }

  /**
   * Answers a call among other code: of its argument the worker knows the value, and so what that is called (`name`); in the code stands
   * what the cell calls it.
   */
  call(code: string, name: string, show: (data: Record<string, string>) => void): void {
    const written = [...code.matchAll(CALLS)].map(([, path]) => path);
    const path = written.find((one) => one === name || one.endsWith(`.${name}`)) ?? (written.length === 1 ? written[0] : name);
    const nothing = { 'text/plain': `help: there is nothing known by the name '${path}'. help(name) alone in a cell takes any name.` };
    const shown = this.language.help(path).then((data) => show(data ?? nothing));
    this.pending.add(shown);
    void shown.finally(() => this.pending.delete(shown));
  }

  /** Resolves when all that was asked so far is shown: it belongs to the cell. */
  async settled(): Promise<void> {
    await Promise.all(this.pending);
  }
}

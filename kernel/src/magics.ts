import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { interrupted, plainError } from './report';
import type { Result } from './running';

/** A line `%name argument` before all code of a cell, or `!command`. */
export interface Magic {
  name: string;
  argument: string;
  /** The cell without it; each character stands where it stood. Of %time, what is measured is in it. */
  rest: string;
}

const COMMENTS = /^(?:\s|\/\/.*|\/\*[\s\S]*?\*\/)*/;
/** A line for a shell: a word, and no operator of TypeScript behind it. */
const COMMAND =
  /^!\s*(?!(?:await|async|class|delete|function|import|new|typeof|void|yield)\b)[\w./~$-]+(?:\s+[^\s=?:+*%&|<>^,;.)\]}].*|\s*)$/;

/** The magic that a cell begins with, be it behind comments. What can be read as TypeScript is none: `!done`. */
export async function magicOf(code: string): Promise<Magic | undefined> {
  const start = (code.match(COMMENTS) as RegExpMatchArray)[0].length;
  const [line] = code.slice(start).split(/\r?\n/, 1);
  const without = (length: number) => code.slice(0, start) + ' '.repeat(length) + code.slice(start + length);
  if (COMMAND.test(line)) {
    const { parseSync } = await import('oxc-parser');
    return parseSync('cell.ts', code).errors.length ? { name: line.trim(), argument: '', rest: without(line.length) } : undefined;
  }
  const [, name, words] = line.match(/^(%%?[a-zA-Z_]\w*)(.*)$/) ?? [];
  if (name === undefined) return;
  const measured = name === '%time';
  const argument = measured ? words : words.replace(/(^|\s)(\/\/|#)(\s.*)?$/, '');
  return { name, argument: argument.trim(), rest: without(measured ? name.length : line.length) };
}

/** Python's magics and what to write in TypeScript instead. */
const INSTEAD: Record<string, string> = {
  '%pip': 'packages of npm are installed with %npm install <name>',
  '%conda': 'packages of npm are installed with %npm install <name>',
  '%timeit': 'put %time before the code, or measure with performance.now()',
  '%%time': '%time before the code does this',
  '%%timeit': '%time before the code does this once',
  '%matplotlib': 'nothing is needed: plots show themselves',
  '%load_ext': 'import the package instead: import ... from "..."',
  '%autoreload': 'nothing is needed: .ts files beside the notebook are read anew when they change',
  '%cd': 'use process.chdir("...")',
  '%pwd': 'use process.cwd()',
  '%ls': 'use (await import("node:fs")).readdirSync(".")',
  '%env': 'use process.env.NAME',
  '%run': 'import the file instead: import ... from "./file.ts"',
  '%%bash': 'use execSync("...") of node:child_process',
  '%%writefile': 'use writeFileSync(path, text) of node:fs',
  '%who': 'type a name and press Tab',
};

const inShell = (command: string): string =>
  `shell commands are run with execSync(${JSON.stringify(command.trim())}) of node:child_process; packages of npm are installed with %npm install <name>.`;

/** What to say where TypeScript does not know the name at a place of a cell: `!ls` can be read as TypeScript too. */
export function commandAdvice(code: string, { line, column, text }: { line: number; column: number; text: string }): string {
  const source = code.split('\n')[line - 1] ?? '';
  const isCommand = /^Cannot find name/.test(text) && /^\s*!\s*$/.test(source.slice(0, column - 1));
  return isCommand ? ` If it is a command: ${inShell(source.slice(column - 1))}` : '';
}

export const refuse = ({ name }: Magic): string =>
  name.startsWith('!')
    ? `${name}: ${inShell(name.slice(1))}`
    : `${name} is not a magic of this kernel, which has %time, %reset and %npm install.${INSTEAD[name] ? ` In TypeScript: ${INSTEAD[name]}.` : ''}`;

/** Runs npm beside the notebook, until `stop`; a folder that is no package yet becomes a private one. Resolves with npm's exit code. */
function npm(argument: string, folder: string, say: (text: string) => void, stop: AbortSignal): Promise<number> {
  if (!existsSync(join(folder, 'package.json'))) writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const words = argument.match(/[^\s"']+|"[^"]*"|'[^']*'/g)?.map((word) => word.replace(/^(["'])(.*)\1$/, '$2')) ?? [];
  return new Promise((resolve) => {
    const child = spawn('npm', [...words, '--no-fund', '--no-audit'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], signal: stop });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', say);
    child.on('error', (error) => {
      if (stop.aborted) return; // 'close' follows
      say(`npm could not be started: ${error.message}\n`);
      resolve(1);
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
}

/** What a magic acts on. */
interface Doing {
  folder: string;
  stop: AbortSignal;
  say(text: string): void;
  /** Forgets the cells' values. */
  reset(): Promise<void>;
  /** Runs the cell without the magic. */
  rest(): Promise<Result>;
}

/** Does what a magic says, and then runs what stands behind it. */
export async function perform(magic: Magic, { folder, stop, say, reset, rest }: Doing): Promise<Result> {
  const fail = (evalue: string): Result => ({ error: plainError('MagicError', evalue) });
  switch (magic.name) {
    case '%time': {
      const start = performance.now();
      const result = await rest();
      const ms = performance.now() - start;
      say(`Wall time: ${ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(2)} s`}\n`);
      return result;
    }
    case '%reset':
      await reset();
      say('All names are forgotten; cells start afresh.\n');
      break;
    case '%npm': {
      const status = await npm(magic.argument, folder, say, stop);
      if (stop.aborted) return { error: interrupted };
      if (status) return fail(`npm ${magic.argument} ended with code ${status}.`);
      break;
    }
    default:
      return fail(refuse(magic));
  }
  return magic.rest.trim() ? rest() : { results: {} };
}

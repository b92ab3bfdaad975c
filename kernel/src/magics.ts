import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A line `%name argument` at the beginning of a cell, and the code behind it. */
export interface Magic {
  name: string;
  argument: string;
  rest: string;
}

export function magicOf(code: string): Magic | undefined {
  const [, name, argument, rest] = code.match(/^\s*(%%?\w+|![^\n]*)[ \t]*([^\n]*)\n?([\s\S]*)$/) ?? [];
  return name === undefined ? undefined : { name, argument: argument.trim(), rest };
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

export const refuse = ({ name }: Magic): string =>
  name.startsWith('!')
    ? `${name}: shell commands are run with execSync("${name.slice(1).trim()}") of node:child_process; packages of npm are installed with %npm install <name>.`
    : `${name} is not a magic of this kernel, which has %time, %reset and %npm install.${INSTEAD[name] ? ` In TypeScript: ${INSTEAD[name]}.` : ''}`;

/** Runs npm beside the notebook, until `stop`; a folder that is no package yet becomes a private one. Resolves with npm's exit code. */
export function npm(argument: string, folder: string, say: (text: string) => void, stop: AbortSignal): Promise<number> {
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

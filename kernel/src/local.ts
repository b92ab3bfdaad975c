import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { build } from 'esbuild';
import { convert } from './convert';

/** A TypeScript file beside the notebook, with the files that it imports from there, as the worker runs it. */
export interface LocalFile {
  path: string;
  code: string;
  exports: [string, string][];
}

const ENDINGS = ['', '.ts', '.mts', '.cts', '/index.ts'];

/** The file that code in `folder` means by a relative specifier. */
const find = (folder: string, specifier: string) =>
  ENDINGS.map((ending) => resolve(folder, specifier) + ending).find((p) => existsSync(p) && statSync(p).isFile());

/** The files of a notebook's folder that cells import, as one that has read them sees them change. */
export class LocalFiles {
  /** When each was changed, in milliseconds; 0 where it is gone. */
  private readonly times = new Map<string, number>();

  constructor(private readonly folder: string) {}

  /** Files that have changed since the last call: those that `code` names, those that cells before named, and what they import. */
  changes(code: string): { path: string; gone: boolean }[] {
    const changed: { path: string; gone: boolean }[] = [];
    const look = (path: string) => {
      const time = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
      if (this.times.get(path) === time) return;
      this.times.set(path, time);
      changed.push({ path, gone: !time });
      if (time && !path.endsWith('.json')) follow(dirname(path), readFileSync(path, 'utf8'));
    };
    const follow = (folder: string, source: string) => {
      for (const [, specifier] of source.matchAll(/['"](\.\.?\/[^'"\n]*)['"]/g)) {
        const path = find(folder, specifier);
        if (path && /\.([cm]?[tj]s|json)$/.test(path) && !this.times.has(path)) look(path);
      }
    };
    for (const path of [...this.times.keys()]) look(path);
    follow(this.folder, code);
    return changed;
  }
}

/** The file that a cell in `folder` means by a relative specifier; null where that is none of TypeScript. Read anew each time. */
export async function loadLocal(folder: string, specifier: string): Promise<LocalFile | null> {
  const path = find(folder, specifier);
  if (!path || !/\.[cm]?ts$/.test(path)) return null;
  const { outputFiles } = await build({
    entryPoints: [path],
    bundle: true,
    write: false,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'silent',
  }).catch(({ errors, message }) => {
    const [first] = errors ?? [];
    throw new Error(first ? `${first.location ? `${first.location.file}:${first.location.line}: ` : ''}${first.text}` : message);
  });
  const { code, exports } = await convert(outputFiles[0].text, path, new Set());
  return { path, code, exports };
}

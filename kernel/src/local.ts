import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { build } from 'esbuild';
import { convert } from './convert';

/** A TypeScript file beside the notebook, with the files that it imports from there, as the worker runs it. */
export interface LocalFile {
  path: string;
  code: string;
  exports: [string, string][];
}

const ENDINGS = ['', '.ts', '.mts', '.cts', '/index.ts'];

/** The file that a cell in `folder` means by a relative specifier; null where that is none of TypeScript. Read anew each time. */
export async function loadLocal(folder: string, specifier: string): Promise<LocalFile | null> {
  const path = ENDINGS.map((ending) => resolve(folder, specifier) + ending).find((p) => existsSync(p) && statSync(p).isFile());
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

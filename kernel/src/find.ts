import { existsSync, statSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Loader } from 'esbuild';

/** What may stand for an ending, as TypeScript tries them. */
const INSTEAD: Record<string, string[]> = {
  '.js': ['.ts', '.tsx', '.d.ts'],
  '.jsx': ['.tsx'],
  '.mjs': ['.mts', '.d.mts'],
  '.cjs': ['.cts', '.d.cts'],
};
const ENDINGS = ['.ts', '.tsx', '.mts', '.cts', '.d.ts', '.js', '.jsx', '.mjs', '.cjs'];

/** Whether code means a file by it, and no package. */
export const isLocal = (specifier: string): boolean => /^(\.\.?(\/|$)|\/|file:)/.test(specifier);

/** The file that code in `folder` means by a specifier that is local. */
export function find(folder: string, specifier: string): string | undefined {
  const path = specifier.startsWith('file:') ? fileURLToPath(specifier) : resolve(folder, specifier);
  const ending = extname(path);
  const stem = path.slice(0, path.length - ending.length);
  const candidates = [
    path,
    ...(INSTEAD[ending] ?? []).map((other) => stem + other),
    ...ENDINGS.map((other) => path + other),
    ...ENDINGS.map((other) => resolve(path, `index${other}`)),
  ];
  return candidates.find((p) => existsSync(p) && statSync(p).isFile());
}

/** How esbuild is to read a file; by default as TypeScript. */
export const LOADERS: Record<string, Loader> = { '.tsx': 'tsx', '.jsx': 'jsx', '.js': 'jsx', '.mjs': 'js' };

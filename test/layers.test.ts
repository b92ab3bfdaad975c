import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, it } from 'vitest';

/** The map of docs/architecture.md: a row imports only from rows above it, and folders of one row not from each other. */
const ROWS = [
  ['core'],
  ['engine'],
  ['formats'],
  ['hub'],
  ['tokenizers'],
  ['nn'],
  ['data'],
  ['quantize'],
  ['peft'],
  ['generate'],
  ['models'],
  ['pipelines'],
  ['evaluate'],
  ['train'],
  ['trainers'],
  ['notebook'],
  ['serve'],
  ['lessons'],
  ['cli'],
];
const src = resolve(__dirname, '../src');
const rowOf = (folder: string) => ROWS.findIndex((row) => row.includes(folder));

function files(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : path.endsWith('.ts') ? [path] : [];
  });
}

function wrongImports(): string[] {
  return files(src).flatMap((file) => {
    const [folder, ...rest] = relative(src, file).split('/');
    if (!rest.length) return []; // index.ts sees everything
    if (rowOf(folder) < 0) return [`${relative(src, file)}: ${folder} is not on the map`];
    return [...readFileSync(file, 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].flatMap(([, target]) => {
      const path = relative(src, resolve(dirname(file), target));
      const to = path.split('/')[0];
      if (path === '../views') return folder === 'notebook' ? [] : [`${folder} imports views`];
      if (path.startsWith('..')) return [];
      return to === folder || rowOf(to) < rowOf(folder)
        ? []
        : [`src/${relative(src, file)} imports ${target}: ${folder} may not use ${to}`];
    });
  });
}

it('no folder imports from a row beside or below it', () => expect(wrongImports()).toEqual([]));

it('only engine/tf.ts imports tfjs', () => {
  const others = files(src).filter((file) => !file.endsWith('engine/tf.ts') && /from '@tensorflow/.test(readFileSync(file, 'utf8')));
  expect(others).toEqual([]);
});

it('the map in docs/architecture.md is this one', () => {
  const text = readFileSync(resolve(src, '../docs/architecture.md'), 'utf8');
  const rows = [...text.matchAll(/^\| (`[a-z]+`(?:, `[a-z]+`)*) \|/gm)].map(([, names]) =>
    [...names.matchAll(/`([a-z]+)`/g)].map(([, name]) => name),
  );
  expect(rows).toEqual(ROWS);
});

it('there is no folder called utils', () => expect(readdirSync(src)).not.toContain('utils'));

import { basename, dirname } from 'node:path';

/** Words in file names by which Hugging Face's datasets knows splits. */
const WORDS: [split: string, words: string[]][] = [
  ['train', ['train', 'training']],
  ['validation', ['validation', 'valid', 'dev', 'val']],
  ['test', ['test', 'testing', 'eval', 'evaluation']],
];

/** The split that a file of a repository belongs to, by the words in its name: of data/train-00000-of-00002.jsonl 'train'. */
export function splitOf(file: string): string | undefined {
  return splitIn(basename(file));
}

function splitIn(name: string): string | undefined {
  const words = name.toLowerCase().split(/[^a-z]+/);
  return WORDS.find(([, known]) => known.some((word) => words.includes(word)))?.[0];
}

/** A repository's files of rows by split: those whose names say one, or their folders' names, else all of them as train. */
export function splitFiles(files: readonly string[]): Map<string, string[]> {
  const splits = new Map<string, string[]>();
  const byFolder = (file: string) => dirname(file).split('/').map(splitIn).find(Boolean);
  const ways = [splitOf, byFolder].map((of) => ({ of, named: files.filter((file) => of(file) !== undefined) }));
  const { of, named } = ways.find((way) => way.named.length) ?? { of: () => 'train', named: [...files] };
  for (const file of named.sort()) {
    const split = of(file) as string;
    splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  return splits;
}

import { basename } from 'node:path';

/** Words in file names by which Hugging Face's datasets knows splits. */
const WORDS: [split: string, words: string[]][] = [
  ['train', ['train', 'training']],
  ['validation', ['validation', 'valid', 'dev', 'val']],
  ['test', ['test', 'testing', 'eval', 'evaluation']],
];

/** The split that a file of a repository belongs to, by the words in its name: of data/train-00000-of-00002.jsonl 'train'. */
export function splitOf(file: string): string | undefined {
  const words = basename(file)
    .toLowerCase()
    .split(/[^a-z]+/);
  return WORDS.find(([, known]) => known.some((word) => words.includes(word)))?.[0];
}

/** A repository's files of rows by split: those whose names say one, else all of them as train. */
export function splitFiles(files: readonly string[]): Map<string, string[]> {
  const splits = new Map<string, string[]>();
  const named = files.filter((file) => splitOf(file) !== undefined);
  for (const file of (named.length ? named : [...files]).sort()) {
    const split = splitOf(file) ?? 'train';
    splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  return splits;
}

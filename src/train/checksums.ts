import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** SHA-256 of files by their names, in hex. */
export type Checksums = Record<string, string>;

async function sumOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

/** Those of all files in a folder. */
export async function checksums(folder: string): Promise<Checksums> {
  const names = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name);
  const sums: Checksums = {};
  for (const name of names.sort()) sums[name] = await sumOf(join(folder, name));
  return sums;
}

/** The first of some files that is not what it was when it was saved; undefined where all are, or nobody knows. */
export async function changedFile(folder: string, saved: Checksums | undefined, names: string[]): Promise<string | undefined> {
  for (const name of names)
    if (saved?.[name] && existsSync(join(folder, name)) && (await sumOf(join(folder, name))) !== saved[name]) return name;
  return undefined;
}

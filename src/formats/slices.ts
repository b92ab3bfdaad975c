import { type FileHandle, open } from 'node:fs/promises';

/** Reads one part of an open file. */
export async function readPart(file: FileHandle, { offset, bytes }: { offset: number; bytes: number }): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await file.read(buffer, done, bytes - done, offset + done);
    if (!bytesRead) throw new Error('A file became shorter while it was read.');
    done += bytesRead;
  }
  return buffer;
}

/** Reads named parts of one file, one at a time, so that a model passes through without being in memory as a whole. */
export async function withFile<T>(
  path: string,
  use: (read: (part: { offset: number; bytes: number }) => Promise<Uint8Array>) => Promise<T>,
): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use((part) => readPart(file, part));
  } finally {
    await file.close();
  }
}

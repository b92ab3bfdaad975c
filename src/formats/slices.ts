import { type FileHandle, open } from 'node:fs/promises';
import { FileError } from '../core/errors';

/** Reads one part of an open file, into memory that is there where it is given; `path` is for errors. */
export async function readPart(
  path: string,
  file: FileHandle,
  { offset, bytes }: { offset: number; bytes: number },
  into?: Uint8Array,
): Promise<Uint8Array> {
  const buffer = into?.subarray(0, bytes) ?? new Uint8Array(bytes);
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await file.read(buffer, done, bytes - done, offset + done);
    if (!bytesRead) throw new FileError(`${path} became shorter while it was read. Is something else writing it?`);
    done += bytesRead;
  }
  return buffer;
}

/** Reads named parts of one file, one at a time, so that a model passes through without being in memory as a whole. */
export async function withFile<T>(
  path: string,
  use: (read: (part: { offset: number; bytes: number }, into?: Uint8Array) => Promise<Uint8Array>) => Promise<T>,
): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use((part, into) => readPart(path, file, part, into));
  } finally {
    await file.close();
  }
}

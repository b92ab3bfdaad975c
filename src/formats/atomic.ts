import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError } from '../core/errors';

/** Puts bytes behind those that were put before. */
export type Put = (bytes: Uint8Array) => Promise<void>;

const FULL = ['ENOSPC', 'EDQUOT', 'EFBIG'];

/** Why a file was not written, in words. */
export function whyUnwritten(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return FULL.includes(code) ? `the disk is full (${code})` : message.replace(/\.$/, '');
}

/** Has what a folder lists outlive a loss of power. Where a system cannot, the names are safe all the same once it gets to it. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

/**
 * Writes a file under another name, has it on the disk, then renames it: whatever happens, there is the old file or the whole new one. A
 * FileError says why where the system refuses; what `write` throws goes through.
 */
export async function writeAtomically(path: string, write: (put: Put) => Promise<void>): Promise<void> {
  const partial = `${path}.${randomBytes(4).toString('hex')}.partial`;
  let file: Awaited<ReturnType<typeof open>> | undefined;
  try {
    file = await open(partial, 'w');
    const to = file;
    await write(async (bytes) => {
      for (let done = 0; done < bytes.length; ) done += (await to.write(bytes, done, Math.min(bytes.length - done, 1 << 30))).bytesWritten;
    });
    await file.sync();
    await file.close();
    await rename(partial, path);
  } catch (error) {
    await file?.close().catch(() => {});
    await rm(partial, { force: true }).catch(() => {});
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (!code || !syscall) throw error;
    throw Object.assign(new FileError(`${path} could not be written: ${whyUnwritten(error)}.`), { code });
  }
  await syncFolder(dirname(path));
}

/** The same of a text. */
export const writeText = (path: string, text: string): Promise<void> => writeAtomically(path, (put) => put(Buffer.from(text)));

import { open } from 'node:fs/promises';

/** Reads named parts of one file, one at a time, so that a model passes through without being in memory as a whole. */
export async function withFile<T>(
  path: string,
  use: (read: (part: { offset: number; bytes: number }) => Promise<Uint8Array>) => Promise<T>,
): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use(async ({ offset, bytes }) => {
      const buffer = new Uint8Array(bytes);
      for (let done = 0; done < bytes; ) {
        const { bytesRead } = await file.read(buffer, done, bytes - done, offset + done);
        if (!bytesRead) throw new Error(`${path} became shorter while it was read.`);
        done += bytesRead;
      }
      return buffer;
    });
  } finally {
    await file.close();
  }
}

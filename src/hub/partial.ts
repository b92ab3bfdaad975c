import { existsSync } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { FileError } from '../core/errors';

type Span = [from: number, to: number];

/** How often the record of what has come is written, in milliseconds. */
const RECORD = 1000;

/**
 * A file that is not whole yet, beside a record of the bytes that it has: several connections fill it from several places, and another
 * process goes on where this one was killed. Bytes are checked when all are there, so a record that is too old costs bytes alone.
 */
export class Partial {
  private saved = 0;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private spans: Span[],
  ) {}

  static async open(path: string): Promise<Partial> {
    const spans = await recorded(path);
    const file = await open(path, spans.length && existsSync(path) ? 'r+' : 'w').catch((error) => {
      throw unwritable(path, error);
    });
    const { size } = await file.stat();
    return new Partial(
      path,
      file,
      spans.filter(([, to]) => to <= size),
    );
  }

  /** How many bytes have come. */
  get length(): number {
    return this.spans.reduce((sum, [from, to]) => sum + to - from, 0);
  }

  /** What is missing of so many bytes. */
  gaps(size: number): Span[] {
    const gaps: Span[] = [];
    let at = 0;
    for (const [from, to] of this.spans) {
      if (from > at) gaps.push([at, from]);
      at = to;
    }
    if (at < size) gaps.push([at, size]);
    return gaps;
  }

  async write(bytes: Uint8Array, at: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) done += (await this.file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
    } catch (error) {
      throw unwritable(this.path, error);
    }
    this.add([at, at + bytes.length]);
    if (Date.now() - this.saved > RECORD) await this.record();
  }

  private add(span: Span): void {
    const merged: Span[] = [];
    for (const [from, to] of [...this.spans, span].sort(([a], [b]) => a - b)) {
      const last = merged.at(-1);
      if (last && from <= last[1]) last[1] = Math.max(last[1], to);
      else merged.push([from, to]);
    }
    this.spans = merged;
  }

  /** Begins anew. */
  async clear(): Promise<void> {
    this.spans = [];
    await this.file.truncate(0);
    await this.record();
  }

  private async record(): Promise<void> {
    this.saved = Date.now();
    // On a full disk the record is what is lost, not the bytes before.
    await writeFile(recordOf(this.path), JSON.stringify(this.spans)).catch(() => {});
  }

  async close(): Promise<void> {
    if (this.spans.length) await this.record();
    await this.file.close();
  }

  /** Whole and checked: it gets its name. */
  async land(as: string): Promise<void> {
    await this.file.sync();
    await this.file.close();
    await rename(this.path, as).catch((error) => {
      // Another process was first.
      if (!existsSync(as)) throw unwritable(as, error);
    });
    await rm(recordOf(this.path), { force: true });
  }

  /** Wrong bytes: nothing of it is kept. */
  async discard(): Promise<void> {
    await this.file.close();
    await rm(this.path, { force: true });
    await rm(recordOf(this.path), { force: true });
  }
}

const recordOf = (path: string) => `${path}.json`;

const isSpan = (value: unknown): value is Span =>
  Array.isArray(value) && value.length === 2 && value.every(Number.isSafeInteger) && value[0] >= 0 && value[0] < value[1];

async function recorded(path: string): Promise<Span[]> {
  try {
    const spans: unknown = JSON.parse(await readFile(recordOf(path), 'utf8'));
    return Array.isArray(spans) && spans.every(isSpan) ? spans.sort(([a], [b]) => a - b) : [];
  } catch {
    return [];
  }
}

/** What keeps a file from being written, and what to do about it. */
export function unwritable(path: string, error: unknown): FileError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new FileError(
      `${path} cannot be written: the disk is full. Free some space (\`hf cache rm\` removes models), or set HF_HUB_CACHE to a folder on another disk. What has come is kept; the next try goes on there.`,
    );
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new FileError(`${path} may not be written (${code}). Set HF_HUB_CACHE or cache_dir to a folder that is yours.`);
  return new FileError(`${path} cannot be written (${message}).`);
}

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError, HubError } from '../core/errors';
import { type Ask, ask, bytesOf, reasonOf, rest } from './http';
import { Partial } from './partial';
import { RANGES, RETRY } from './settings';

/** A file of a hub. */
export interface Source {
  /** As messages call it. */
  name: string;
  url: string;
  request?: Ask;
  /** In bytes; undefined where the hub did not say. */
  size?: number;
  /** Whether bytes in a file are the right ones; undefined where nobody knows. */
  check?(path: string, size: number): Promise<boolean>;
  /** The error of an answer that is a refusal. */
  refuse(answer: Response): Promise<HubError>;
}

/** An answer of a server that takes no ranges. */
class NoRanges extends Error {}

/** Opens ranges of a source, and remembers where its redirects lead: a hub counts how often it is asked. */
class Opener {
  private direct?: string;

  constructor(private readonly source: Source) {}

  async open(from: number, to?: number): Promise<Response> {
    const { url, request, refuse } = this.source;
    // Compressed bytes have another length, and no ranges.
    const headers: Record<string, string> = { 'accept-encoding': 'identity' };
    if (to !== undefined) headers.range = `bytes=${from}-${to - 1}`;
    if (this.direct) {
      const answer = await ask(this.direct, { headers });
      if (answer.ok) return answer;
      // A signed address is valid for some time only.
      await answer.body?.cancel();
      this.direct = undefined;
    }
    const answer = await ask(url, { ...request, headers: { ...request?.headers, ...headers } });
    const elsewhere = new URL(answer.url).origin !== new URL(url).origin;
    if (!answer.ok && elsewhere) {
      await answer.body?.cancel();
      throw new Error(`${new URL(answer.url).host} answered with status ${answer.status}`);
    }
    if (!answer.ok) throw await refuse(answer);
    if (elsewhere) this.direct = answer.url;
    return answer;
  }
}

/** The length of the whole file that an answer speaks of, and where in it its bytes begin. */
function extentOf(answer: Response): { start: number; size?: number } {
  const range = answer.headers.get('content-range')?.match(/^bytes (\d+)-\d+\/(\d+|\*)$/);
  if (answer.status === 206 && range) return { start: Number(range[1]), size: range[2] === '*' ? undefined : Number(range[2]) };
  const length = answer.headers.get('content-encoding') ? null : answer.headers.get('content-length');
  return { start: 0, size: length === null ? undefined : Number(length) };
}

const wrongLength = ({ name, size }: Source, seen: number | string) =>
  new HubError(
    `${name} has ${size?.toLocaleString('en-US')} bytes by the hub's own account, but ${seen.toLocaleString('en-US')} come. Try again; if it stays so, something between here and the hub (a proxy, a login page) answers in its place.`,
  );

/** One transfer: ranges of a file, over several connections. */
class Transfer {
  private readonly opener: Opener;
  private failed = false;

  constructor(
    private readonly source: Source,
    private readonly partial: Partial,
    private readonly report: (bytes: number) => void,
  ) {
    this.opener = new Opener(source);
  }

  async run(): Promise<void> {
    const { size } = this.source;
    if (size === undefined) {
      await this.partial.clear();
      return this.piece(0, undefined);
    }
    const length = Math.min(RANGES.most, Math.max(RANGES.least, Math.ceil(size / RANGES.connections)));
    const pieces = this.partial.gaps(size).flatMap(([from, to]) => {
      const cut: [number, number][] = [];
      for (let at = from; at < to; at += length) cut.push([at, Math.min(to, at + length)]);
      return cut;
    });
    try {
      await this.all(pieces);
    } catch (error) {
      if (!(error instanceof NoRanges)) throw error;
      this.report(-this.partial.length);
      await this.partial.clear();
      this.failed = false;
      await this.piece(0, size);
    }
  }

  private async all(pieces: [number, number][]): Promise<void> {
    const worker = async () => {
      for (let next = pieces.shift(); next && !this.failed; next = pieces.shift()) await this.piece(...next);
    };
    const workers = Array.from({ length: Math.min(RANGES.connections, pieces.length) }, () =>
      worker().catch((error) => {
        this.failed = true;
        throw error;
      }),
    );
    // All have let go of the file before an error is told; what is no refusal is told first.
    const errors = (await Promise.allSettled(workers)).flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
    if (errors.length) throw errors.find((error) => !(error instanceof NoRanges)) ?? errors[0];
  }

  /** Bytes from ... to, again from the last one that came where the connection breaks. `to` undefined: to the end, wherever that is. */
  private async piece(from: number, to: number | undefined): Promise<void> {
    const { source } = this;
    const whole = from === 0 && to === source.size;
    let at = from;
    for (let tries = 0; !this.failed; tries++) {
      const before = at;
      try {
        const answer = await this.opener.open(at, whole && at === 0 ? undefined : (to ?? undefined));
        const { start, size } = extentOf(answer);
        if (source.size !== undefined && size !== undefined && size !== source.size) {
          await answer.body?.cancel();
          throw wrongLength(source, size);
        }
        if (start !== at) {
          if (start !== 0 || !whole) {
            await answer.body?.cancel();
            throw new NoRanges();
          }
          this.report(-at);
          at = 0;
        }
        for await (const bytes of bytesOf(answer)) {
          if (this.failed) return;
          if (to !== undefined && at + bytes.length > to)
            throw whole || answer.status === 206 ? wrongLength(source, 'more') : new NoRanges();
          await this.partial.write(bytes, at);
          at += bytes.length;
          this.report(bytes.length);
        }
        if (to === undefined || at === to) return;
        // An answer that ends well may have fewer bytes than were asked for only where it says which ones they are.
        if (answer.status !== 206) throw wrongLength(source, at);
        if (at === before) throw new Error('no bytes came');
        tries = -1;
      } catch (error) {
        if (error instanceof HubError || error instanceof FileError || error instanceof NoRanges) throw error;
        if (at > before) tries = 0;
        if (to === undefined) at = from;
        if (tries >= RETRY.times)
          throw new HubError(
            `The transfer broke ${tries + 1} times in a row while ${source.name} was fetched (${reasonOf(error)}). What has come is kept: call it again to go on.`,
          );
        await rest(tries);
      }
    }
  }
}

/** Fails before the first byte where the disk has no room. */
async function checkRoom(path: string, needed: number, name: string): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  const free = Number(bavail) * Number(bsize);
  if (needed > free)
    throw new FileError(
      `${name} needs ${gigabytes(needed)} more in ${dirname(path)}, where ${gigabytes(free)} are free. Free some space (\`hf cache rm\` removes models), or set HF_HUB_CACHE to a folder on another disk.`,
    );
}

export const gigabytes = (bytes: number): string => (bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

/**
 * Brings a file to `path`, which gets its name when all its bytes are there and are the right ones. What came of it before, in this process
 * or another, is not fetched again.
 * @param partialPath where it grows, in the same folder
 * @param report is told of bytes as they come, negative ones where some have to come again
 */
export async function bring(source: Source, path: string, partialPath: string, report: (bytes: number) => void): Promise<void> {
  for (let again = false; ; again = true) {
    const partial = await Partial.open(partialPath);
    const before = partial.length;
    let size: number;
    try {
      report(before);
      if (source.size !== undefined) await checkRoom(path, source.size - before, source.name);
      await new Transfer(source, partial, report).run();
      size = partial.length;
      if (!(await (source.check?.(partialPath, size) ?? true))) throw new WrongBytes(size);
    } catch (error) {
      if (!(error instanceof WrongBytes)) {
        await partial.close();
        throw error;
      }
      await partial.discard();
      if (again)
        throw new HubError(
          `${source.name} came with wrong bytes twice: their checksum is not the hub's. Something between here and the hub changes them; try another network, or without a proxy.`,
        );
      report(-error.size);
      continue;
    }
    return partial.land(path);
  }
}

class WrongBytes extends Error {
  constructor(readonly size: number) {
    super();
  }
}

/** A file's digest, with what git puts before a blob where `git`. */
export async function digest(path: string, algorithm: 'sha256' | 'sha1' | 'md5', prefix = ''): Promise<Buffer> {
  const hash = createHash(algorithm).update(prefix);
  for await (const bytes of createReadStream(path, { highWaterMark: 2 ** 22 })) hash.update(bytes);
  return hash.digest();
}

/** Whether a file has the bytes that an ETag stands for: sha256 of large files, git's name of a blob (or a plain sha1) of others. */
export async function hasEtag(etag: string, path: string, size: number): Promise<boolean> {
  if (/^[0-9a-f]{64}$/.test(etag)) return (await digest(path, 'sha256')).toString('hex') === etag;
  if (!/^[0-9a-f]{40}$/.test(etag)) return true;
  for (const prefix of [`blob ${size}\0`, '']) if ((await digest(path, 'sha1', prefix)).toString('hex') === etag) return true;
  return false;
}

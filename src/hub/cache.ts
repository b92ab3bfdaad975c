import { randomBytes } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { copyFile, mkdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { OptionError } from '../core/errors';
import { unwritable } from './partial';
import { folderName, isCommit, type Repo, staysInside } from './repo';
import { symlinksWanted } from './settings';

/** A file of a repository at a commit. */
export interface Entry {
  size: number;
  /** git's name of the blob: its ETag, unless it is a large file. */
  blob_id: string;
  /** Of a large file: its ETag, and its checksum. */
  lfs_sha256?: string;
  lfs_size?: number;
  xet_hash?: string;
}

export const etagOf = (entry: Entry): string => entry.lfs_sha256 ?? entry.blob_id;
export const sizeOf = (entry: Entry): number => entry.lfs_size ?? entry.size;

/** How Python's huggingface_hub writes down the files of a commit. */
const TREE_VERSION = 1;

/**
 * What the cache has of one repository, laid out as Python's huggingface_hub does: blobs by their ETag, snapshots of commits that are
 * links to them, refs from revisions to commits, .no_exist for files that a commit lacks, trees with what it has.
 */
export class Storage {
  readonly folder: string;

  constructor(
    private readonly cache: string,
    private readonly repo: Repo,
  ) {
    this.folder = join(cache, folderName(repo));
  }

  blob(etag: string): string {
    return join(this.folder, 'blobs', etag);
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  lock(etag: string): string {
    return join(this.cache, '.locks', folderName(this.repo), `${etag}.lock`);
  }

  /** The commit that a revision stood for when it was last asked; undefined where it never was. */
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) return existsSync(this.snapshot(revision)) ? revision : undefined;
    const path = join(this.folder, 'refs', revision);
    if (!existsSync(path) || !statSync(path).isFile()) return undefined;
    const commit = readFileSync(path, 'utf8').trim();
    return isCommit(commit) || staysInside(commit) ? commit : undefined;
  }

  /** Notes what a revision stands for. */
  async refer(revision: string, commit: string): Promise<void> {
    if (revision === commit || this.commitOf(revision) === commit) return;
    await this.put(join(this.folder, 'refs', revision), commit);
  }

  /** The files of a commit, where they were listed once. */
  tree(commit: string): Map<string, Entry> | undefined {
    try {
      const json = JSON.parse(readFileSync(this.treePath(commit), 'utf8')) as { format_version: number; files: Record<string, Entry> };
      const files = new Map(Object.entries(json.files));
      // Whoever wrote it may not have looked where names lead.
      const sound = [...files].every(([file, entry]) => staysInside(file) && /^[0-9a-f]+$/.test(etagOf(entry)) && sizeOf(entry) >= 0);
      return json.format_version === TREE_VERSION && sound ? files : undefined;
    } catch {
      return undefined;
    }
  }

  async keepTree(commit: string, files: Map<string, Entry>): Promise<void> {
    const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
    const text = JSON.stringify({ format_version: TREE_VERSION, files: Object.fromEntries(sorted) }, null, 1);
    await this.put(this.treePath(commit), text);
  }

  private treePath(commit: string): string {
    return join(this.folder, 'trees', `${commit}.json`);
  }

  /** The files of a commit that are here. */
  present(commit: string): string[] {
    const root = this.snapshot(commit);
    const list = (folder: string): string[] =>
      readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return list(path);
        // A link whose blob was deleted is no file.
        return existsSync(path) ? [relative(root, path).split('\\').join('/')] : [];
      });
    return existsSync(root) ? list(root) : [];
  }

  /** Notes that a commit has no such file, so that nobody asks for it again. */
  async noteMissing(commit: string, file: string): Promise<void> {
    const path = join(this.folder, '.no_exist', commit, file);
    if (!existsSync(path)) await this.put(path, '');
  }

  /** Folders, and the mark by which backups pass over a cache. */
  async prepare(): Promise<void> {
    await mkdir(join(this.folder, 'blobs'), { recursive: true }).catch((error) => {
      throw unwritable(this.folder, error);
    });
    const tag = join(this.cache, 'CACHEDIR.TAG');
    if (!existsSync(tag))
      await writeFile(tag, 'Signature: 8a477f597d28d172789f06886806bc55\n# This file marks a cache that backups may pass over.\n').catch(
        () => {},
      );
  }

  /** Gives a blob its file's name in a snapshot: a relative link, or a copy where there are no links. */
  async point(commit: string, file: string, etag: string): Promise<string> {
    const [from, to] = [this.blob(etag), join(this.snapshot(commit), file)];
    if (existsSync(to)) return to;
    await mkdir(dirname(to), { recursive: true });
    // A link that leads nowhere any more.
    await rm(to, { force: true });
    const target = relative(dirname(to), from);
    try {
      if (!symlinksWanted()) throw Object.assign(new Error('no links are wanted'), { code: 'EPERM' });
      await symlink(target, to);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST' && lstatSync(to).isSymbolicLink() && (await readlink(to)) === target) return to;
      if (!['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP'].includes(code ?? '')) throw unwritable(to, error);
      const copy = `${to}.${randomBytes(4).toString('hex')}.tmp`;
      await copyFile(from, copy).catch((reason) => {
        throw unwritable(to, reason);
      });
      await rename(copy, to);
    }
    return to;
  }

  private async put(path: string, text: string): Promise<void> {
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(temporary, text);
      await rename(temporary, path);
    } catch (error) {
      throw unwritable(path, error);
    }
  }
}

/** A revision as it may stand in a path. */
export function checkedRevision(revision: string | null | undefined): string {
  const wanted = revision ?? 'main';
  if (typeof wanted !== 'string' || !staysInside(wanted))
    throw new OptionError(`revision is ${JSON.stringify(wanted)}; it is a branch, a tag, or a commit of 40 hexadecimal digits.`);
  return wanted;
}

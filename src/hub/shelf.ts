import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { FileError, HubError, OptionError } from '../core/errors';
import { emit, warnOnce } from '../core/events';
import { checkedRevision, type Entry, etagOf, Storage, sizeOf } from './cache';
import { ask, jsonOf } from './http';
import { withLock } from './lock';
import { Progress } from './progress';
import { type About, refusal } from './refusal';
import { apiOf, fileUrl, isCommit, type Repo, staysInside } from './repo';
import { cacheFolder, endpoint, type HubOptions, isOffline } from './settings';
import { type Token, tokenOf } from './token';
import { bring, hasEtag } from './transfer';

/** Where a model's or data set's files are taken from: one version of a hub's repository. */
export interface Shelf {
  /** As messages call it. */
  readonly name: string;
  /** Where its files come to stand. */
  readonly folder: string;
  /** The files there are; without a network perhaps only those that are here. */
  readonly files: string[];
  /** Brings these files into `folder`. */
  take(files: string[]): Promise<void>;
  /** Notes that what was looked for is not there. */
  lacks(files: string[]): Promise<void>;
}

/** Commits that revisions stood for a moment ago: model, tokenizer and settings of one cell are of one commit. */
const recent = new Map<string, { commit: string; until: number }>();
const MOMENT = 60_000;

/** After a push a revision stands for another commit. */
export const forgetCommits = (): void => recent.clear();

export const bearer = (token?: Token): Record<string, string> => (token ? { authorization: `Bearer ${token.value}` } : {});

/** The commit of a revision, asked of the hub. */
async function askCommit(about: About & { revision: string }): Promise<string> {
  const { repo, token, revision } = about;
  const key = JSON.stringify([endpoint(), repo, revision, token?.value]);
  const known = recent.get(key);
  if (known && known.until > Date.now()) return known.commit;
  const answer = await ask(`${apiOf(repo)}/revision/${encodeURIComponent(revision)}`, { headers: bearer(token), retries: 1 });
  if (!answer.ok) throw await refusal(answer, about);
  const { sha } = await jsonOf<{ sha?: unknown }>(answer);
  if (typeof sha !== 'string' || !staysInside(sha) || /[/]/.test(sha))
    throw new HubError(`${endpoint()} did not say which commit ${repo.id} is at: it is no Hugging Face Hub. Check HF_ENDPOINT.`);
  recent.set(key, { commit: sha, until: Date.now() + MOMENT });
  return sha;
}

interface Listed {
  type: string;
  path: string;
  size: number;
  oid: string;
  lfs?: { oid: string; size: number };
  xetHash?: string;
}

/** All files of a commit, asked of the hub. */
async function askTree(about: About, commit: string): Promise<Map<string, Entry>> {
  const files = new Map<string, Entry>();
  let next: string | undefined = `${apiOf(about.repo)}/tree/${commit}?recursive=true&expand=false`;
  while (next) {
    const answer: Response = await ask(next, { headers: bearer(about.token) });
    if (!answer.ok) throw await refusal(answer, about);
    for (const { type, path, size, oid, lfs, xetHash } of await jsonOf<Listed[]>(answer)) {
      if (type !== 'file') continue;
      if (typeof path !== 'string' || !staysInside(path) || ![oid, lfs?.oid ?? ''].every((id) => /^[0-9a-f]*$/.test(id)))
        throw new HubError(
          `${about.repo.id} lists a file called ${JSON.stringify(path)}, whose name leads out of its folder. Nothing of it was fetched: do not trust that repository.`,
        );
      files.set(path, {
        size,
        blob_id: oid,
        ...(lfs && { lfs_sha256: lfs.oid, lfs_size: lfs.size }),
        ...(xetHash && { xet_hash: xetHash }),
      });
    }
    const link = answer.headers.get('link')?.match(/<([^>]+)>;\s*rel="next"/)?.[1];
    next = link && new URL(link, next).href;
    if (next && new URL(next).origin !== new URL(apiOf(about.repo)).origin)
      throw new HubError(`${endpoint()} leads to another host (${next}) for the list of files.`);
  }
  return files;
}

/** A repository of the Hub. */
class HubShelf implements Shelf {
  readonly name: string;
  readonly folder: string;

  constructor(
    private readonly about: About & { revision: string },
    private readonly storage: Storage,
    private readonly commit: string,
    private readonly tree: Map<string, Entry> | undefined,
    private readonly options: HubOptions,
    /** Why the hub is not asked; undefined: it is. */
    private readonly without?: string,
  ) {
    const { repo, revision } = about;
    this.name = `The ${repo.type} '${repo.id}'${revision === 'main' ? '' : ` at ${revision}`}`;
    this.folder = storage.snapshot(commit);
  }

  get files(): string[] {
    return this.tree ? [...this.tree.keys()] : this.storage.present(this.commit);
  }

  private isHere(file: string): boolean {
    return existsSync(join(this.folder, file));
  }

  async take(files: string[]): Promise<void> {
    const wanted = [...new Set(files)].filter((file) => !this.isHere(file) || (this.options.force_download && !this.without));
    if (!wanted.length) return;
    const { tree, without } = this;
    if (without !== undefined || !tree)
      throw new HubError(
        `${this.name} is in the cache without ${wanted.slice(0, 3).join(', ')}${wanted.length > 3 ? ` and ${wanted.length - 3} more files` : ''}, and ${without ?? 'the Hub was not asked'}. Load it once with a network.`,
      );
    const missing = wanted.filter((file) => !tree.has(file));
    if (missing.length) throw new FileError(`${this.name} has no ${missing[0]}.`);
    const entries = wanted.map((file) => [file, tree.get(file) as Entry] as const).sort(([, a], [, b]) => sizeOf(a) - sizeOf(b));
    const total = entries.reduce((sum, [, entry]) => sum + sizeOf(entry), 0);
    const progress = new Progress(this.about.repo.id, total);
    await this.storage.prepare();
    // Small files together; a large one has several connections of its own.
    for (let i = 0; i < entries.length; ) {
      const many = entries.slice(i, i + 4).filter(([, entry], k) => k === 0 || sizeOf(entry) < 2 ** 23);
      const ends = await Promise.allSettled(many.map(([file, entry]) => this.bring(file, entry, progress)));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      i += many.length;
    }
    progress.end();
  }

  private async bring(file: string, entry: Entry, progress: Progress): Promise<void> {
    const { about, storage, commit, options } = this;
    const [etag, size] = [etagOf(entry), sizeOf(entry)];
    const blob = storage.blob(etag);
    const waiting = () => emit('progress', { id: 'hub', text: `Another process is downloading ${file}: waiting for it.`, done: true });
    await withLock(
      storage.lock(etag),
      async () => {
        if (existsSync(blob) && !options.force_download) return progress.add(size, true);
        let first = true;
        const source = {
          name: `${about.repo.id}/${file}`,
          url: fileUrl(about.repo, commit, file),
          request: { headers: bearer(about.token) },
          size,
          check: (path: string, length: number) => hasEtag(etag, path, length),
          refuse: (answer: Response) => refusal(answer, { ...about, file }),
        };
        await bring(source, blob, `${blob}.tunebook.incomplete`, (bytes) => {
          progress.add(bytes, first);
          first = false;
        });
      },
      waiting,
    );
    await storage.point(commit, file, etag);
  }

  async lacks(files: string[]): Promise<void> {
    if (this.tree && this.without === undefined)
      for (const file of files) if (!this.tree.has(file)) await this.storage.noteMissing(this.commit, file).catch(() => {});
  }
}

/** What the cache has of a revision, for those who may not or cannot ask. */
function fromCache(about: About & { revision: string }, storage: Storage, options: HubOptions, without: string): HubShelf | undefined {
  const commit = storage.commitOf(about.revision);
  if (commit === undefined || !existsSync(storage.snapshot(commit))) return undefined;
  return new HubShelf(about, storage, commit, storage.tree(commit), options, without);
}

/**
 * One version of a repository of the Hub. The Hub is asked which commit the revision stands for; where it does not answer, the cache
 * serves, with a warning. A commit that is in the cache is taken from there.
 * @throws HubError with a remedy: not there, private, gated, no network and not in the cache
 */
export async function shelfOf(repo: Repo, options: HubOptions): Promise<Shelf> {
  const revision = checkedRevision(options.revision);
  const storage = new Storage(cacheFolder(options.cache_dir), repo);
  const closed = options.local_files_only ? 'local_files_only is true' : isOffline() ? 'HF_HUB_OFFLINE is set' : undefined;
  if (closed !== undefined) {
    if (options.force_download) throw new OptionError(`force_download needs the Hub, but ${closed}.`);
    const shelf = fromCache({ repo, revision }, storage, options, closed);
    if (shelf) return shelf;
    const versions = existsSync(join(storage.folder, 'refs')) ? readdirSync(join(storage.folder, 'refs')) : [];
    throw new HubError(
      `The ${repo.type} '${repo.id}' is not in the cache (${cacheFolder(options.cache_dir)})${versions.length ? ` at revision '${revision}'; there is ${versions.join(', ')}` : ''}, and ${closed}. Load it once with a network.`,
    );
  }
  const token = tokenOf(options.token);
  const about = { repo, token, revision };
  if (isCommit(revision) && storage.tree(revision)) return new HubShelf(about, storage, revision, storage.tree(revision), options);
  try {
    const commit = await askCommit(about);
    const tree = storage.tree(commit) ?? (await askTree(about, commit));
    await storage.keepTree(commit, tree).catch(() => {});
    await storage.refer(revision, commit).catch(() => {});
    return new HubShelf(about, storage, commit, tree, options);
  } catch (error) {
    const passing = error instanceof HubError && (error.status === undefined || error.status === 429 || error.status >= 500);
    const shelf = passing && !options.force_download ? fromCache(about, storage, options, 'the Hub cannot be reached') : undefined;
    if (!shelf) throw error;
    warnOnce(`${(error as Error).message} ${shelf.name} is taken from the cache as it was last seen.`);
    return shelf;
  }
}

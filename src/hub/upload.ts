import { createHash } from 'node:crypto';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, HubError, OptionError } from '../core/errors';
import { type Alias, show } from '../core/options';
import { type Ask, ask, jsonOf } from './http';
import { uploadLarge } from './lfs';
import { type About, refusal } from './refusal';
import { apiOf, checkedRepo, fileUrl, pageOf, type Repo, type RepoType, staysInside } from './repo';
import { endpoint, isOffline } from './settings';
import { bearer, forgetCommits } from './shelf';
import { HOW_TO_LOG_IN, type Token, tokenOf } from './token';
import { digest } from './transfer';

/** Options of push_to_hub, under Hugging Face's names. */
export interface PushOptions {
  /** The commit's first line; null: what is pushed. Default: null. */
  commit_message: string | null;
  /** What the commit says besides. Default: ''. */
  commit_description: string;
  /** Whether a repository that is made for it is private; null: as the account has it. Default: null. */
  private: boolean | null;
  /** An access token with the right to write, or the name of a stored one; null: of the environment or the login. Default: null. */
  token: string | boolean | null;
  /** The branch; it is made where it is not there. null: main. Default: null. */
  revision: string | null;
  /** Opens a pull request in the place of a commit. Default: false. */
  create_pr: boolean;
}

export const PUSH_DEFAULTS: PushOptions = {
  commit_message: null,
  commit_description: '',
  private: null,
  token: null,
  revision: null,
  create_pr: false,
};

export const PUSH_ALIASES: Record<string, Alias> = {
  use_auth_token: { to: 'token' },
  safe_serialization: { to: null, why: 'files are always safetensors' },
};

/** What a push came to. */
export interface Pushed {
  /** The repository's page. */
  repo_url: string;
  /** The commit's page, and its id; of a push that changed nothing undefined. */
  commit_url?: string;
  oid?: string;
  pr_url?: string;
}

/** A file to be pushed. */
export interface Addition {
  path: string;
  /** Where it is here. */
  from: string;
  size: number;
}

/** Says in a card that a program wrote it, so that the next push may write it anew. */
export const CARD_MARK = '<!-- Written by tunebook. Take this line out to keep the card as you changed it. -->';

/** The files of a folder, as paths in a repository. */
async function additionsIn(folder: string, inside = ''): Promise<Addition[]> {
  const found: Addition[] = [];
  for (const entry of await readdir(join(folder, inside), { withFileTypes: true })) {
    const path = inside ? `${inside}/${entry.name}` : entry.name;
    if (entry.isDirectory()) found.push(...(await additionsIn(folder, path)));
    else if (entry.isFile()) found.push({ path, from: join(folder, path), size: (await stat(join(folder, path))).size });
  }
  return found;
}

/** git's name of a small file. */
async function blobId(file: Addition): Promise<string> {
  return createHash('sha1')
    .update(`blob ${file.size}\0`)
    .update(await readFile(file.from))
    .digest('hex');
}

async function beginning(file: Addition): Promise<string> {
  const handle = await open(file.from);
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(512), 0, 512, 0);
    return buffer.subarray(0, bytesRead).toString('base64');
  } finally {
    await handle.close();
  }
}

/** One push: its repository, its token, where to. */
class Push {
  private readonly about: About;

  constructor(
    readonly repo: Repo,
    private readonly token: Token,
    private readonly options: PushOptions,
  ) {
    this.about = { repo, token, writes: true, revision: this.revision };
  }

  private get revision(): string {
    return this.options.revision ?? 'main';
  }

  private async post<T>(url: string, body: object | string, more: Ask = {}): Promise<T> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const headers = { 'content-type': 'application/json', ...bearer(this.token), ...more.headers };
    const answer = await ask(url, { timeout: 60_000, ...more, method: 'POST', headers, body: text });
    if (!answer.ok) throw await refusal(answer, this.about);
    return jsonOf<T>(answer);
  }

  /** Makes the repository, and the branch, where they are not there. */
  async prepare(): Promise<void> {
    const [name, organization] = this.repo.id.split('/').reverse();
    const visibility = this.options.private === null ? {} : { visibility: this.options.private ? 'private' : 'public' };
    await this.unlessThere(`${endpoint()}/api/repos/create`, { name, organization, type: this.repo.type, ...visibility });
    if (this.revision !== 'main' && !this.revision.startsWith('refs/'))
      await this.unlessThere(`${apiOf(this.repo)}/branch/${encodeURIComponent(this.revision)}`, {});
  }

  private async unlessThere(url: string, body: object): Promise<void> {
    try {
      await this.post(url, body);
    } catch (error) {
      if (!(error instanceof HubError) || error.status === undefined) throw error;
      if (error.status === 409) return;
      // A token may be allowed to write into a repository and not to make one.
      const there = await ask(apiOf(this.repo), { headers: bearer(this.token) });
      await there.body?.cancel();
      if (error.status !== 403 || !there.ok) throw error;
    }
  }

  /** Takes out a card that a person wrote, or changed: it stays as it is. */
  async keepCard(files: Addition[]): Promise<Addition[]> {
    if (!files.some(({ path }) => path === 'README.md')) return files;
    const answer = await ask(fileUrl(this.repo, this.revision, 'README.md'), { headers: bearer(this.token) });
    const there = await answer.text();
    return !answer.ok || there === '' || there.includes(CARD_MARK) ? files : files.filter(({ path }) => path !== 'README.md');
  }

  /** What the Hub wants of each file: lines of the commit, and large files apart. Files that are there already are left out. */
  private async sort(files: Addition[]): Promise<{ small: Addition[]; large: { file: Addition; oid: string }[] }> {
    const small: Addition[] = [];
    const large: { file: Addition; oid: string }[] = [];
    for (let i = 0; i < files.length; i += 256) {
      const some = files.slice(i, i + 256);
      const asked = await Promise.all(some.map(async (file) => ({ path: file.path, size: file.size, sample: await beginning(file) })));
      const url = `${apiOf(this.repo)}/preupload/${encodeURIComponent(this.revision)}${this.pr}`;
      const told = await this.post<{ files: { path: string; uploadMode: string; shouldIgnore?: boolean; oid?: string }[] }>(url, {
        files: asked,
      });
      for (const { path, uploadMode, shouldIgnore, oid } of told.files) {
        const file = some.find((one) => one.path === path);
        if (!file || shouldIgnore) continue;
        if (uploadMode === 'lfs' && file.size) {
          const sha256 = (await digest(file.from, 'sha256')).toString('hex');
          if (sha256 !== oid) large.push({ file, oid: sha256 });
        } else if ((await blobId(file)) !== oid) small.push(file);
      }
    }
    return { small, large };
  }

  private get pr(): string {
    return this.options.create_pr ? '?create_pr=1' : '';
  }

  async commit(files: Addition[], message: string): Promise<Pushed> {
    const repo_url = pageOf(this.repo);
    const { small, large } = await this.sort(files);
    if (!small.length && !large.length) return { repo_url };
    await uploadLarge(this.about, large, this.revision);
    const { commit_description: description } = this.options;
    const lines = [
      { key: 'header', value: { summary: message, description } },
      ...(await Promise.all(
        small.map(async ({ path, from }) => ({
          key: 'file',
          value: { path, encoding: 'base64', content: (await readFile(from)).toString('base64') },
        })),
      )),
      ...large.map(({ file, oid }) => ({ key: 'lfsFile', value: { path: file.path, algo: 'sha256', oid, size: file.size } })),
    ];
    const body = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    const url = `${apiOf(this.repo)}/commit/${encodeURIComponent(this.revision)}${this.pr}`;
    // A commit whose answer was lost may be there: it is not sent twice.
    const made = await this.post<{ commitUrl: string; commitOid: string; pullRequestUrl?: string }>(url, body, {
      headers: { 'content-type': 'application/x-ndjson' },
      retries: 0,
    });
    return { repo_url, commit_url: made.commitUrl, oid: made.commitOid, ...(made.pullRequestUrl && { pr_url: made.pullRequestUrl }) };
  }
}

/** The account of a token: repositories of names without an owner are its. */
async function accountOf(token: Token): Promise<string> {
  const answer = await ask(`${endpoint()}/api/whoami-v2`, { headers: bearer(token) });
  if (!answer.ok)
    throw new HubError(
      [401, 403].includes(answer.status)
        ? `${endpoint()} does not know the token of ${token.from}. Make a new one at https://huggingface.co/settings/tokens.`
        : `${endpoint()} is out of order (status ${answer.status}). Try again later.`,
      answer.status,
    );
  return (await jsonOf<{ name: string }>(answer)).name;
}

function checkOptions(options: PushOptions): void {
  const { commit_message, commit_description, revision, create_pr } = options;
  const isPrivate = options.private;
  if (commit_message !== null && (typeof commit_message !== 'string' || !commit_message.trim()))
    throw new OptionError(`push_to_hub: commit_message is ${show(commit_message)}; it is a text, or null.`);
  if (typeof commit_description !== 'string')
    throw new OptionError(`push_to_hub: commit_description is ${show(commit_description)}; it is a text.`);
  if (isPrivate !== null && typeof isPrivate !== 'boolean')
    throw new OptionError(`push_to_hub: private is ${show(isPrivate)}; it can be true, false or null.`);
  if (typeof create_pr !== 'boolean') throw new OptionError(`push_to_hub: create_pr is ${show(create_pr)}; it is true or false.`);
  if (revision !== null && (typeof revision !== 'string' || !staysInside(revision)))
    throw new OptionError(`push_to_hub: revision is ${show(revision)}; it is a branch.`);
}

/** A push to a repository that is there now, whoever had to make it. */
async function opened(repo_id: string, options: PushOptions, type: RepoType): Promise<Push> {
  const named = checkedRepo(repo_id, type);
  checkOptions(options);
  if (isOffline()) throw new HubError('push_to_hub needs the Hub, but HF_HUB_OFFLINE is set.');
  const token = tokenOf(options.token);
  if (!token) throw new OptionError(`push_to_hub needs a token with the right to write. ${HOW_TO_LOG_IN}`);
  const repo = named.id.includes('/') ? named : { type, id: `${await accountOf(token)}/${named.id}` };
  const push = new Push(repo, token, options);
  await push.prepare();
  return push;
}

/** Makes the repository where it is not there, so that whatever forbids a push is told before. Returns its name with the owner. */
export const openRepo = async (repo_id: string, options: PushOptions): Promise<string> => (await opened(repo_id, options, 'model')).repo.id;

/**
 * Pushes the files of a folder to a repository, which is made where it is not there. Files that the Hub has already are not sent; a
 * README.md that a person wrote there stays.
 * @param repo_id 'owner/name', or 'name' under the token's account
 * @throws HubError: no token, no right to write, no network; nothing is committed then
 */
export async function pushFolder(
  repo_id: string,
  folder: string,
  options: PushOptions,
  { type = 'model' as RepoType, message = 'Upload' } = {},
): Promise<Pushed> {
  const files = await additionsIn(folder).catch((error) => {
    throw new FileError(`${folder} cannot be pushed (${(error as Error).message}).`);
  });
  const push = await opened(repo_id, options, type);
  const pushed = await push.commit(await push.keepCard(files), options.commit_message ?? message);
  forgetCommits();
  return pushed;
}

import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, Served } from './served';

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');
/** git's name of a blob. */
export const blobId = (bytes: Uint8Array): string => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

type Files = Map<string, Buffer>;

interface Repository {
  private: boolean;
  gated: boolean;
  /** The files of each commit. */
  commits: Map<string, Files>;
  refs: Map<string, string>;
  /** What each commit said. */
  messages: string[];
}

const isLarge = (path: string, size: number) => /\.(safetensors|gguf|bin|parquet|png)$/.test(path) || size > 10 * 2 ** 20;
const commitId = () => randomBytes(20).toString('hex');

/**
 * A small Hugging Face Hub: the routes that Python's huggingface_hub uses to download and to commit, with large files on a host of
 * their own (another port), as the real one has them. One user, `me`, with the token `hf_good`.
 */
export class HubServer {
  readonly repos = new Map<string, Repository>();
  /** Large files by their sha256, and the parts of those that come in parts. */
  private readonly stored = new Map<string, Buffer>();
  private readonly parts = new Map<string, Map<number, Buffer>>();
  /** Large uploads come in parts of this many bytes; those not above it at once. */
  chunk = 5 * 2 ** 20;
  /** How many files a page of a tree lists. */
  page = 1000;
  readonly hub = new Served((ask, answer, body) => this.answer(ask, answer, body));
  readonly cdn = new Served((ask, answer, body) => this.store(ask, answer, body));

  async start(): Promise<this> {
    await Promise.all([this.hub.start(), this.cdn.start()]);
    return this;
  }
  stop(): void {
    this.hub.stop();
    this.cdn.stop();
  }
  get url(): string {
    return this.hub.url;
  }
  set fault(fault: Fault | undefined) {
    this.hub.fault = fault;
    this.cdn.fault = fault;
  }
  get log() {
    return [...this.hub.log, ...this.cdn.log];
  }
  forget(): void {
    this.hub.log.length = 0;
    this.cdn.log.length = 0;
  }

  /** Without a repository, a file or a fault. */
  clear(): void {
    this.fault = undefined;
    this.repos.clear();
    this.stored.clear();
    this.parts.clear();
    this.forget();
  }

  /** Makes or changes a repository: `key` is models/owner/name. Returns the commit. */
  put(key: string, files: Record<string, string | Uint8Array>, { gated = false, hidden = false, revision = 'main' } = {}): string {
    const repo = this.repos.get(key) ?? { private: hidden, gated, commits: new Map(), refs: new Map(), messages: [] };
    this.repos.set(key, repo);
    const before = repo.commits.get(repo.refs.get(revision) ?? '') ?? new Map();
    return this.commit(repo, revision, new Map([...before, ...Object.entries(files).map(([p, b]) => [p, Buffer.from(b)] as const)]));
  }

  private commit(repo: Repository, revision: string, files: Files): string {
    const id = commitId();
    repo.commits.set(id, files);
    repo.refs.set(revision, id);
    for (const [path, bytes] of files) if (isLarge(path, bytes.length)) this.stored.set(sha256(bytes), bytes);
    return id;
  }

  /** The files at a revision. */
  files(key: string, revision = 'main'): Files {
    const repo = this.repos.get(key);
    return repo?.commits.get(repo.refs.get(revision) ?? revision) ?? new Map();
  }

  private answer(ask: IncomingMessage, answer: ServerResponse, body: Buffer): unknown {
    const url = new URL(ask.url ?? '/', this.url);
    const path = decodeURIComponent(url.pathname);
    const { authorization } = ask.headers;
    const json = (value: unknown, status = 200, headers = {}) =>
      answer
        .writeHead(status, { 'content-type': 'application/json', ...headers })
        .end(ask.method === 'HEAD' ? undefined : JSON.stringify(value));
    const refuse = (status: number, code: string, message: string) =>
      json({ error: message }, status, { 'x-error-code': code, 'x-error-message': message });
    if (authorization && authorization !== 'Bearer hf_good')
      return json({ error: 'Invalid credentials' }, 401, { 'x-error-message': 'Invalid credentials in Authorization header' });
    if (path === '/api/whoami-v2') {
      if (!authorization) return json({ error: 'Unauthorized' }, 401);
      return json({ type: 'user', name: 'me', orgs: [], auth: { type: 'access_token', accessToken: { role: 'write' } } });
    }
    if (path === '/api/verify') return json({}, this.stored.has((JSON.parse(body.toString()) as { oid: string }).oid) ? 200 : 404);
    if (path === '/api/repos/create') return this.create(JSON.parse(body.toString()), Boolean(authorization), json);
    const [, api, type, id, rest] = path.match(/^\/(api\/)?(?:(models|datasets)\/)?([^/]+\/[^/]+?)((?:\.git)?(?:\/.*)?)$/) ?? [];
    const key = `${type ?? 'models'}/${id}`;
    const repo = id ? this.repos.get(key) : undefined;
    if (!repo || (repo.private && !authorization)) return refuse(authorization ? 404 : 401, 'RepoNotFound', 'Repository not found');
    const writes = ask.method === 'POST' && !rest.startsWith('/paths-info');
    if (writes && !authorization) return refuse(401, '', 'You must be logged in');
    if (rest === '.git/info/lfs/objects/batch') return this.batch(JSON.parse(body.toString()), json);
    const [, what, revision = 'main', file] = rest.match(
      /^\/(resolve|tree|revision|preupload|commit|branch|paths-info)(?:\/(refs\/pr\/\d+|[^/]+))?(?:\/(.*))?$/,
    ) ?? ['', ''];
    if (what === 'branch') {
      if (repo.refs.has(revision)) return json({ error: 'Reference already exists' }, 409);
      repo.refs.set(revision, repo.refs.get('main') ?? this.commit(repo, 'main', new Map()));
      return json({}, 201);
    }
    const commit = repo.refs.get(revision) ?? (repo.commits.has(revision) ? revision : undefined);
    if (commit === undefined && !['preupload', 'commit'].includes(what))
      return refuse(404, 'RevisionNotFound', `Invalid rev id: ${revision}`);
    const files = repo.commits.get(commit ?? '') ?? new Map();
    if (what === 'preupload') return json({ files: this.modes(JSON.parse(body.toString()), files) });
    if (what === 'commit') return this.write(repo, revision, body, url.searchParams.has('create_pr'), key, json);
    if (what === 'tree') return this.tree(files, file && decodeURIComponent(file), url, json);
    if (what === 'paths-info') {
      const asked = new URLSearchParams(body.toString()).getAll('paths');
      const all = entriesOf(files);
      return json(asked.flatMap((path) => all.find((entry) => entry.path === path.replace(/\/$/, '')) ?? []));
    }
    if (what === 'resolve') {
      if (repo.gated && authorization !== 'Bearer hf_good') return refuse(401, 'GatedRepo', `Access to model ${id} is restricted.`);
      return this.resolve(ask, answer, files, file, commit as string, refuse);
    }
    if (api)
      return json({
        id,
        sha: commit,
        private: repo.private,
        gated: repo.gated,
        siblings: [...files.keys()].map((rfilename) => ({ rfilename })),
      });
    refuse(404, '', 'Not found');
  }

  private create(
    { name, organization, type = 'model', visibility, private: hidden }: Record<string, unknown>,
    known: boolean,
    json: (value: unknown, status?: number) => unknown,
  ): unknown {
    if (!known) return json({ error: 'Unauthorized' }, 401);
    const id = `${organization ?? 'me'}/${name}`;
    const key = `${type}s/${id}`;
    const url = `${this.url}/${type === 'model' ? '' : `${type}s/`}${id}`;
    if (organization && organization !== 'me')
      return json({ error: `You don't have the rights to create a ${type} under ${organization}` }, 403);
    if (this.repos.has(key)) return json({ error: `You already created this ${type} repo`, url }, 409);
    this.put(key, { '.gitattributes': '*.safetensors filter=lfs\n' }, { hidden: visibility === 'private' || hidden === true });
    json({ url, name: id, id });
  }

  private modes({ files }: { files: { path: string; size: number }[] }, there: Files) {
    return files.map(({ path, size }) => {
      const large = isLarge(path, size);
      const old = there.get(path);
      return { path, uploadMode: large ? 'lfs' : 'regular', shouldIgnore: false, oid: old && (large ? sha256(old) : blobId(old)) };
    });
  }

  private batch({ objects }: { objects: { oid: string; size: number }[] }, json: (value: unknown) => unknown): void {
    const actions = objects.map(({ oid, size }) => {
      if (this.stored.has(oid)) return { oid, size };
      const verify = { href: `${this.url}/api/verify` };
      if (size <= this.chunk) return { oid, size, actions: { upload: { href: `${this.cdn.url}/upload/${oid}?sig=1` }, verify } };
      const parts = Array.from({ length: Math.ceil(size / this.chunk) }, (_, i) => [
        String(i + 1).padStart(5, '0'),
        `${this.cdn.url}/upload/${oid}?part=${i + 1}`,
      ]);
      const header = { chunk_size: String(this.chunk), ...Object.fromEntries(parts) };
      return { oid, size, actions: { upload: { href: `${this.cdn.url}/complete/${oid}`, header } } };
    });
    json({ transfer: 'basic', objects: actions });
  }

  /** The host of large files: signed addresses, no tokens. */
  private store(ask: IncomingMessage, answer: ServerResponse, body: Buffer): unknown {
    const url = new URL(ask.url ?? '/', this.cdn.url);
    const [, what, oid] = url.pathname.split('/');
    if (what === 'upload') {
      const part = Number(url.searchParams.get('part') ?? 0);
      if (part) this.parts.set(oid, (this.parts.get(oid) ?? new Map()).set(part, body));
      else if (sha256(body) === oid) this.stored.set(oid, body);
      return answer.writeHead(part || this.stored.has(oid) ? 200 : 400, { etag: `"${sha256(body).slice(0, 12)}"` }).end();
    }
    if (what === 'complete') {
      const { parts } = JSON.parse(body.toString()) as { parts: { partNumber: number; etag: string }[] };
      const had = this.parts.get(oid) ?? new Map<number, Buffer>();
      const right = parts.every(({ partNumber, etag }) => etag === `"${sha256(had.get(partNumber) ?? '').slice(0, 12)}"`);
      const whole = Buffer.concat(parts.map(({ partNumber }) => had.get(partNumber) ?? Buffer.alloc(0)));
      if (right && sha256(whole) === oid) this.stored.set(oid, whole);
      return answer.writeHead(this.stored.has(oid) ? 200 : 400).end('{}');
    }
    const bytes = this.stored.get(oid);
    if (!bytes || !url.searchParams.has('sig')) return answer.writeHead(403).end();
    this.cdn.send(ask, answer, bytes, { etag: `"${oid.slice(0, 32)}"` });
  }

  private write(
    repo: Repository,
    revision: string,
    body: Buffer,
    pr: boolean,
    key: string,
    json: (value: unknown, status?: number) => unknown,
  ): unknown {
    const lines = body
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
    const to = pr ? `refs/pr/${[...repo.refs.keys()].filter((ref) => ref.startsWith('refs/pr/')).length + 1}` : revision;
    const files: Files = new Map(repo.commits.get(repo.refs.get(revision) ?? ''));
    for (const { key: kind, value } of lines) {
      if (kind === 'header') repo.messages.push(value.summary);
      if (kind === 'file') files.set(value.path, Buffer.from(value.content, value.encoding as BufferEncoding));
      if (kind === 'deletedFile') files.delete(value.path);
      if (kind !== 'lfsFile') continue;
      const bytes = this.stored.get(value.oid);
      if (!bytes) return json({ error: `LFS pointer pointed to a file that does not exist: ${value.path}` }, 400);
      files.set(value.path, bytes);
    }
    // The real one reads a card's front matter, and refuses a base model that can be none.
    const base = files
      .get('README.md')
      ?.toString()
      .match(/^base_model: "?(.*?)"?$/m)?.[1];
    if (base !== undefined && !/^([\w.-]+\/)?[\w.-]+$/.test(base))
      return json({ error: `Invalid metadata in README.md. - "base_model" with value "${base}" is not valid.` }, 400);
    const commitOid = this.commit(repo, to, files);
    const page = `${this.url}/${key.replace(/^models\//, '')}`;
    json({ success: true, commitOid, commitUrl: `${page}/commit/${commitOid}`, ...(pr && { pullRequestUrl: `${page}/discussions/1` }) });
  }

  private tree(
    files: Files,
    folder: string | undefined,
    url: URL,
    json: (value: unknown, status?: number, headers?: object) => unknown,
  ): void {
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const deep = url.searchParams.get('recursive')?.toLowerCase() !== 'false' && url.searchParams.has('recursive');
    const within = folder ? `${folder}/` : '';
    const all = entriesOf(files).filter(
      ({ path, type }) => path.startsWith(within) && path !== folder && (deep ? type === 'file' : !path.slice(within.length).includes('/')),
    );
    if (folder && !all.length) return void json({ error: `${folder} does not exist` }, 404, { 'x-error-code': 'EntryNotFound' });
    url.searchParams.set('cursor', String(from + this.page));
    json(all.slice(from, from + this.page), 200, from + this.page < all.length ? { link: `<${url.href}>; rel="next"` } : {});
  }

  private resolve(
    ask: IncomingMessage,
    answer: ServerResponse,
    files: Files,
    file: string,
    commit: string,
    refuse: (status: number, code: string, message: string) => unknown,
  ): unknown {
    const bytes = files.get(file);
    answer.setHeader('x-repo-commit', commit);
    if (!bytes) return refuse(404, 'EntryNotFound', 'Entry not found');
    if (!isLarge(file, bytes.length)) return this.hub.send(ask, answer, bytes, { etag: `"${blobId(bytes)}"` });
    const oid = sha256(bytes);
    const headers = { 'x-linked-etag': `"${oid}"`, 'x-linked-size': bytes.length, location: `${this.cdn.url}/blob/${oid}?sig=1` };
    answer.writeHead(302, headers).end();
  }
}

/** Files and the folders that they are in, as a hub lists them. */
function entriesOf(files: Files) {
  const folders = new Set(
    [...files.keys()].flatMap((path) =>
      path
        .split('/')
        .slice(0, -1)
        .map((_, i, all) => all.slice(0, i + 1).join('/')),
    ),
  );
  return [
    ...[...folders].map((path) => ({ type: 'directory', path, size: 0, oid: blobId(Buffer.from(path)) })),
    ...[...files].map(([path, bytes]) => {
      const large = isLarge(path, bytes.length);
      const oid = blobId(large ? Buffer.from(`pointer to ${sha256(bytes)}`) : bytes);
      const lfs = large && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } };
      return { type: 'file', path, size: bytes.length, oid, ...lfs };
    }),
  ];
}

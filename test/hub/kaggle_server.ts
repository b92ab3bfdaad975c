import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Fault, Served } from './served';

/** What a Kaggle model's request names it by. */
interface Asked {
  ownerSlug: string;
  modelSlug: string;
  framework: string;
  instanceSlug: string;
  versionNumber?: number;
  path?: string;
  pageSize?: number;
  pageToken?: string;
}

/**
 * A small Kaggle: the three calls of models.ModelApiService that kagglehub uses to download a model, with the files on a host of their
 * own, as the real one has them. The accounts `me` with the key `kgl`, and the token `KGAT_good`, have accepted all terms.
 */
export class KaggleServer {
  /** owner/model/MODEL_FRAMEWORK_X/variation to the files of its versions, the last the newest. */
  readonly models = new Map<string, Record<string, Buffer>[]>();
  readonly api = new Served((ask, answer, body) => this.answer(ask, answer, body));
  readonly storage = new Served((ask, answer) => this.store(ask, answer));
  /** How many files a page lists. */
  page = 100;

  async start(): Promise<this> {
    await Promise.all([this.api.start(), this.storage.start()]);
    return this;
  }
  stop(): void {
    this.api.stop();
    this.storage.stop();
  }
  set fault(fault: Fault | undefined) {
    this.api.fault = fault;
    this.storage.fault = fault;
  }
  forget(): void {
    this.api.log.length = 0;
    this.storage.log.length = 0;
  }

  private answer(ask: IncomingMessage, answer: ServerResponse, body: Buffer): unknown {
    const json = (value: object, status = 200) =>
      answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const call = ask.url?.match(/^\/api\/v1\/models\.ModelApiService\/(\w+)$/)?.[1];
    if (ask.method !== 'POST' || !call) return json({ code: 404, message: 'no such call' }, 404);
    const { authorization } = ask.headers;
    const allowed = [`Basic ${Buffer.from('me:kgl').toString('base64')}`, 'Bearer KGAT_good'];
    if (!authorization || !allowed.includes(authorization))
      return json({ code: authorization ? 401 : 403, message: 'Permission denied' }, authorization ? 401 : 403);
    const asked = JSON.parse(body.toString()) as Asked;
    const key = [asked.ownerSlug, asked.modelSlug, asked.framework, asked.instanceSlug].join('/');
    const versions = this.models.get(key);
    const version = asked.versionNumber ?? versions?.length ?? 0;
    const files = versions?.[version - 1];
    if (!files) return json({ code: 404, message: 'Model not found' }, 404);
    if (call === 'GetModelInstance') return json({ id: 1, slug: asked.instanceSlug, framework: asked.framework, versionNumber: version });
    if (call === 'ListModelInstanceVersionFiles') {
      const from = Number(asked.pageToken ?? 0);
      const to = from + Math.min(asked.pageSize ?? 20, this.page);
      const all = Object.entries(files).map(([name, bytes]) => ({ name, size: bytes.length }));
      return json({ files: all.slice(from, to), nextPageToken: to < all.length ? String(to) : '' });
    }
    if (call !== 'DownloadModelInstanceVersion' || asked.path === undefined || !files[asked.path])
      return json({ code: 404, message: 'File not found' }, 404);
    const at = `${this.storage.url}/${key}/${version}/${encodeURIComponent(asked.path)}?X-Goog-Signature=1`;
    answer.writeHead(302, { location: at }).end();
  }

  private store(ask: IncomingMessage, answer: ServerResponse): unknown {
    const url = new URL(ask.url ?? '/', this.storage.url);
    const parts = url.pathname.slice(1).split('/');
    const bytes = this.models.get(parts.slice(0, 4).join('/'))?.[Number(parts[4]) - 1]?.[decodeURIComponent(parts[5])];
    if (!bytes || !url.searchParams.has('X-Goog-Signature')) return answer.writeHead(403).end();
    const md5 = createHash('md5').update(bytes).digest('base64');
    this.storage.send(ask, answer, bytes, { 'x-goog-hash': `crc32c=AAAAAA==,md5=${md5}` });
  }
}

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { FileError, HubError, OptionError } from '../core/errors';
import { show } from '../core/options';
import { ask, jsonOf } from './http';
import { HOW_TO_GET_KAGGLE, type KaggleCredentials, kaggleCredentials } from './kaggle_credentials';
import { withLock } from './lock';
import { unwritable } from './partial';
import { Progress } from './progress';
import { staysInside } from './repo';
import { type HubOptions, isOffline } from './settings';
import type { Shelf } from './shelf';
import { bring, digest } from './transfer';

/** A model on Kaggle, by kagglehub's names of its parts; without a version the newest is meant. */
interface Handle {
  owner: string;
  model: string;
  framework: string;
  variation: string;
  version?: number;
}

const SCHEME = 'kaggle://';
export const isKaggle = (name: string): boolean => name.startsWith(SCHEME);

/** Kaggle's own names, MODEL_FRAMEWORK_..., of what stands third in an address. */
const FRAMEWORKS = [
  ...['TENSOR_FLOW_1', 'TENSOR_FLOW_2', 'TF_LITE', 'TF_JS', 'PY_TORCH', 'JAX', 'FLAX', 'PAX', 'MAX_TEXT', 'GEMMA_CPP', 'GGML', 'GGUF'],
  ...['CORAL', 'SCIKIT_LEARN', 'MXNET', 'ONNX', 'KERAS', 'TRANSFORMERS', 'API', 'OTHER', 'TENSOR_RT_LLM'],
];
const frameworkOf = (name: string): string | undefined =>
  FRAMEWORKS.find((known) => known.replaceAll('_', '') === name.replaceAll(/[_-]/g, '').toUpperCase());

function handleOf(name: string): Handle {
  const parts = name.slice(SCHEME.length).split('/');
  const [owner, model, framework, variation, version] = parts;
  const fits = (parts.length === 4 || parts.length === 5) && parts.slice(0, 4).every((part) => /^\w[\w.-]*$/.test(part));
  if (!fits || (version !== undefined && !/^[1-9]\d*$/.test(version)))
    throw new OptionError(
      `${show(name)} is no address of a model on Kaggle: it is kaggle://owner/model/framework/variation, or with /version behind it, such as kaggle://metaresearch/llama-2/transformers/7b-hf.`,
    );
  if (!frameworkOf(framework))
    throw new OptionError(
      `${show(name)}: Kaggle has no framework ${show(framework)}. Models to be loaded here are under transformers or gguf.`,
    );
  return { owner, model, framework, variation, ...(version && { version: Number(version) }) };
}

/** Where Kaggle answers: KAGGLE_API_ENDPOINT is for mirrors and tests. */
const service = (): string => {
  const { KAGGLE_API_ENDPOINT } = process.env;
  return `${KAGGLE_API_ENDPOINT ? `${KAGGLE_API_ENDPOINT.replace(/\/+$/, '')}/api` : 'https://api.kaggle.com'}/v1/models.ModelApiService`;
};

const kaggleCache = (): string => process.env.KAGGLEHUB_CACHE || join(homedir(), '.cache', 'kagglehub');
const pageOf = ({ owner, model }: Handle) => `https://www.kaggle.com/models/${owner}/${model}`;

async function refusal(answer: Response, handle: Handle, from?: string): Promise<HubError> {
  const text = await answer.text().catch(() => '');
  let said = '';
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === 'string') said = ` Kaggle says: "${message.slice(0, 300)}"`;
  } catch {}
  const error = (words: string) => new HubError(words + said, answer.status);
  const page = pageOf(handle);
  if (answer.status === 401 || answer.status === 403)
    return error(
      from
        ? `Kaggle does not give ${page} to the account of ${from}. Log in there with that account and accept the model's terms (Llama 2 asks for its licence); if that is done, make a new API token.`
        : `Kaggle gives ${page} to those who are logged in and have accepted its terms. ${HOW_TO_GET_KAGGLE} Then accept the terms on that page.`,
    );
  if (answer.status === 404)
    return error(`Kaggle has no ${SCHEME}${Object.values(handle).join('/')}. What there is of it is listed at ${page}.`);
  return error(`Kaggle answered with status ${answer.status} when asked for ${page}.`);
}

interface Listing {
  files?: { name: string; size?: number }[];
  nextPageToken?: string;
}

/** One version of a model on Kaggle, kept where kagglehub keeps it. */
class KaggleShelf implements Shelf {
  readonly name: string;
  readonly folder: string;
  private readonly sizes = new Map<string, number>();

  constructor(
    private readonly handle: Handle & { version: number },
    private readonly options: HubOptions,
    /** Why Kaggle is not asked; undefined: it is. */
    private readonly without?: string,
  ) {
    const { version } = handle;
    this.name = `The model '${SCHEME}${Object.values(handle).join('/')}'`;
    this.folder = join(homeOf(handle), String(version));
  }

  get files(): string[] {
    return this.without === undefined ? [...this.sizes.keys()] : filesUnder(this.folder).filter((file) => this.isHere(file));
  }

  /** kagglehub marks a file, or a version, that is whole. */
  private markOf(file: string): string {
    return join(homeOf(this.handle), '.complete', String(this.handle.version), `${file}.complete`);
  }

  private isHere(file: string): boolean {
    return existsSync(join(this.folder, file)) && (existsSync(this.markOf(file)) || existsSync(`${this.folder}.complete`));
  }

  async list(): Promise<this> {
    const { version } = this.handle;
    let pageToken: string | undefined;
    do {
      const page: Listing = await call('ListModelInstanceVersionFiles', this.handle, { versionNumber: version, pageSize: 100, pageToken });
      for (const { name, size } of page.files ?? []) {
        if (typeof name !== 'string' || !staysInside(name))
          throw new HubError(
            `${this.name} lists a file called ${show(name)}, whose name leads out of its folder. Nothing of it was fetched.`,
          );
        this.sizes.set(name, Number(size ?? 0));
      }
      pageToken = page.nextPageToken || undefined;
    } while (pageToken);
    return this;
  }

  async take(files: string[]): Promise<void> {
    const wanted = [...new Set(files)].filter((file) => !this.isHere(file) || (this.options.force_download && !this.without));
    if (!wanted.length) return;
    if (this.without !== undefined)
      throw new HubError(
        `${this.name} is in the cache without ${wanted.slice(0, 3).join(', ')}, and ${this.without}. Load it once with a network.`,
      );
    const missing = wanted.find((file) => !this.sizes.has(file));
    if (missing !== undefined) throw new FileError(`${this.name} has no ${missing}.`);
    const total = wanted.reduce((sum, file) => sum + (this.sizes.get(file) ?? 0), 0);
    const progress = new Progress(`${this.handle.model} from Kaggle`, total);
    for (const file of wanted) await this.bring(file, progress);
    progress.end();
  }

  private async bring(file: string, progress: Progress): Promise<void> {
    const to = join(this.folder, file);
    const { version: versionNumber, ...handle } = this.handle;
    const credentials = kaggleCredentials();
    await mkdir(dirname(to), { recursive: true }).catch((error) => {
      throw unwritable(to, error);
    });
    await withLock(join(kaggleCache(), '.locks', relative(kaggleCache(), `${to}.lock`)), async () => {
      if (this.isHere(file) && !this.options.force_download) return;
      // The address that a download ends at, and the checksum in its headers: it is asked for once, without a body.
      const request = requestFor(handle, { versionNumber, path: file }, credentials);
      const url = `${service()}/DownloadModelInstanceVersion`;
      const head = await ask(url, request);
      if (!head.ok) throw await refusal(head, this.handle, credentials?.from);
      const length = head.headers.get('content-length');
      const md5 = head.headers.get('x-goog-hash')?.match(/md5=([A-Za-z0-9+/]+={0,2})/)?.[1];
      await head.body?.cancel();
      const source = {
        name: `${this.handle.model}/${file}`,
        url,
        request,
        size: length === null ? undefined : Number(length),
        check: async (path: string) => md5 === undefined || (await digest(path, 'md5')).toString('base64') === md5,
        refuse: (answer: Response) => refusal(answer, this.handle, credentials?.from),
      };
      let first = true;
      await bring(source, to, `${to}.tunebook.incomplete`, (bytes) => {
        progress.add(bytes, first);
        first = false;
      });
      mkdirSync(dirname(this.markOf(file)), { recursive: true });
      writeFileSync(this.markOf(file), '');
    });
  }

  async lacks(): Promise<void> {}
}

const homeOf = ({ owner, model, framework, variation }: Handle): string =>
  join(kaggleCache(), 'models', owner, model, framework, variation);

function filesUnder(folder: string, root = folder): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesUnder(path, root) : [relative(root, path).split('\\').join('/')];
  });
}

/** A call of Kaggle's service: the parts of an address under the names that its JSON has. */
function requestFor(handle: Handle, more: object, credentials?: KaggleCredentials) {
  const { owner, model, framework, variation } = handle;
  const body = {
    ...{ ownerSlug: owner, modelSlug: model, framework: `MODEL_FRAMEWORK_${frameworkOf(framework)}`, instanceSlug: variation },
    ...more,
  };
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(credentials && { authorization: credentials.header }) },
    body: JSON.stringify(body),
  };
}

async function call<T>(what: string, handle: Handle, more: object): Promise<T> {
  const credentials = kaggleCredentials();
  const answer = await ask(`${service()}/${what}`, requestFor(handle, more, credentials));
  if (!answer.ok) throw await refusal(answer, handle, credentials?.from);
  return jsonOf<T>(answer);
}

/** The newest version that is here, whole or in part. */
function newestHere(handle: Handle): number | undefined {
  const home = homeOf(handle);
  const versions = existsSync(home) ? readdirSync(home).filter((name) => /^\d+$/.test(name)) : [];
  return versions.length ? Math.max(...versions.map(Number)) : undefined;
}

/**
 * A model on Kaggle by kaggle://owner/model/framework/variation[/version], with Kaggle's own credentials and cache.
 * @throws HubError that says which page's terms to accept, or how to get a token
 */
export async function kaggleShelf(name: string, options: HubOptions): Promise<Shelf> {
  const handle = handleOf(name);
  const { revision, force_download } = options;
  if (revision !== null || options.cache_dir !== null || options.token !== null)
    throw new OptionError(
      `${name}: revision, cache_dir and token are the Hugging Face Hub's. On Kaggle the version stands at the end of the address, KAGGLEHUB_CACHE names the cache, and credentials are KAGGLE_API_TOKEN or KAGGLE_USERNAME and KAGGLE_KEY.`,
    );
  const closed = options.local_files_only ? 'local_files_only is true' : isOffline() ? 'HF_HUB_OFFLINE is set' : undefined;
  if (closed !== undefined) {
    if (force_download) throw new OptionError(`force_download needs Kaggle, but ${closed}.`);
    const version = handle.version ?? newestHere(handle);
    const shelf = version === undefined ? undefined : new KaggleShelf({ ...handle, version }, options, closed);
    if (shelf?.files.length) return shelf;
    throw new HubError(`${name} is not in Kaggle's cache (${kaggleCache()}), and ${closed}. Load it once with a network.`);
  }
  let { version } = handle;
  if (version === undefined) {
    const { versionNumber } = await call<{ versionNumber?: unknown }>('GetModelInstance', handle, {});
    if (typeof versionNumber !== 'number' || versionNumber < 1)
      throw new HubError(`Kaggle did not say which version of ${name} is the newest.`);
    version = versionNumber;
  }
  const wanted = { ...handle, version };
  // What kagglehub marked as whole needs no list.
  if (!force_download && existsSync(`${join(homeOf(handle), String(version))}.complete`))
    return new KaggleShelf(wanted, options, 'the version is marked as whole');
  return new KaggleShelf(wanted, options).list();
}

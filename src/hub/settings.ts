import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** What the environment says of the Hub, by huggingface_hub's names. Read at each call, so that a notebook may set it. */

const isTrue = (value: string | undefined): boolean => ['1', 'ON', 'YES', 'TRUE'].includes((value ?? '').toUpperCase());

/** A path with ~ and $NAMES replaced, as Python's expanduser and expandvars do. */
function expanded(path: string): string {
  const named = path.replace(/\$(?:(\w+)|\{(\w+)\})/g, (all, plain, braced) => process.env[plain ?? braced] ?? all);
  return resolve(named.replace(/^~(?=\/|$)/, homedir()));
}

const DEFAULT_ENDPOINT = 'https://huggingface.co';

/** Where the Hub is, without a slash at its end. */
export const endpoint = (): string => (process.env.HF_ENDPOINT || DEFAULT_ENDPOINT).replace(/\/+$/, '');

/** Origins that may see the user's token. */
export const hubOrigins = (): Set<string> =>
  new Set([endpoint(), DEFAULT_ENDPOINT, 'https://hub-ci.huggingface.co', 'https://hf.co'].map((url) => new URL(url).origin));

/** A URL that the Hub gave, on the mirror that HF_ENDPOINT names. */
export const onEndpoint = (url: string): string =>
  url.startsWith(`${DEFAULT_ENDPOINT}/`) ? endpoint() + url.slice(DEFAULT_ENDPOINT.length) : url;

/** HF_HOME: tokens and caches. */
export function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return expanded(HF_HOME || join(XDG_CACHE_HOME || '~/.cache', 'huggingface'));
}

/** The folder of the cache, which Python's huggingface_hub shares. */
export function cacheFolder(given?: string | null): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return expanded(given || HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), 'hub'));
}

export const tokenPath = (): string => expanded(process.env.HF_TOKEN_PATH || join(hubHome(), 'token'));

export const isOffline = (): boolean => isTrue(process.env.HF_HUB_OFFLINE || process.env.TRANSFORMERS_OFFLINE);
export const implicitToken = (): boolean => !isTrue(process.env.HF_HUB_DISABLE_IMPLICIT_TOKEN);
export const symlinksWanted = (): boolean => !isTrue(process.env.HF_HUB_DISABLE_SYMLINKS);
export const progressWanted = (): boolean => !isTrue(process.env.HF_HUB_DISABLE_PROGRESS_BARS);

/** Milliseconds without an answer, or without another byte, after which a connection counts as broken. */
export const answerTimeout = (): number => 1000 * (Number(process.env.HF_HUB_ETAG_TIMEOUT) || 10);
export const streamTimeout = (): number => 1000 * (Number(process.env.HF_HUB_DOWNLOAD_TIMEOUT) || 10);

/** How a broken request is tried again: at most so often without a new byte, after so many milliseconds, doubled each time. */
export const RETRY = { times: 5, first: 1000, longest: 8000 };

/** A large file comes over so many connections at once, in pieces of at least and at most so many bytes. */
export const RANGES = { connections: 4, least: 8 * 2 ** 20, most: 64 * 2 ** 20 };

/** Options of whatever loads by name, under Hugging Face's names. */
export interface HubOptions {
  /** A branch, a tag or a commit; null: main. Default: null. */
  revision: string | null;
  /** An access token, or the name of a stored one; true and null: the one of the environment or the login; false: none. Default: null. */
  token: string | boolean | null;
  /** A folder in the place of HF_HUB_CACHE; null: there. Default: null. */
  cache_dir: string | null;
  /** Nothing is asked of the network. Default: false. */
  local_files_only: boolean;
  /** Files are fetched anew. Default: false. */
  force_download: boolean;
  /** A folder inside the repository. Default: ''. */
  subfolder: string;
}

export const HUB_DEFAULTS: HubOptions = {
  revision: null,
  token: null,
  cache_dir: null,
  local_files_only: false,
  force_download: false,
  subfolder: '',
};

import { HubError } from '../core/errors';
import { emit } from '../core/events';
import { answerTimeout, hubOrigins, RETRY, streamTimeout } from './settings';

export interface Ask {
  method?: string;
  headers?: Record<string, string>;
  /** What can be sent again after a broken connection. */
  body?: string;
  /** Milliseconds until an answer has to begin; 0: as long as it takes. */
  timeout?: number;
  /** How often it is tried again. */
  retries?: number;
}

/** Answers that may be others a little later. */
const PASSING = [408, 429, 500, 502, 503, 504];
const REDIRECTS = [301, 302, 303, 307, 308];
/** The longest that a hub may make us wait, in seconds. */
const PATIENCE = 600;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The pause before try number n + 1, in milliseconds. */
export const pause = (n: number): number => Math.min(RETRY.longest, RETRY.first * 2 ** n);
export const rest = (n: number): Promise<unknown> => sleep(pause(n));

/** Seconds that an answer asks to wait: Retry-After (seconds or a date), or the Hub's own `ratelimit: "api";r=0;t=55`. */
export function askedToWait(headers: Headers): number | undefined {
  const limit = headers.get('ratelimit')?.match(/;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)/);
  if (limit) return Number(limit[1]);
  const after = headers.get('retry-after');
  if (after === null) return undefined;
  const seconds = /^\d+$/.test(after.trim()) ? Number(after) : (Date.parse(after) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** Why a connection failed, as the system says it. */
export function reasonOf(error: unknown): string {
  const { cause, message, name } = error as Error & { cause?: { code?: string; message?: string } };
  if (name === 'TimeoutError') return 'no answer came in time';
  return cause?.code ?? cause?.message ?? message;
}

/** A network that failed: where, why, and what one can do. */
export function unreachable(url: string, error: unknown): HubError {
  const { origin } = new URL(url);
  const { HTTPS_PROXY, https_proxy, NODE_USE_ENV_PROXY } = process.env;
  const proxy =
    (HTTPS_PROXY || https_proxy) && !NODE_USE_ENV_PROXY
      ? ' A proxy is set in HTTPS_PROXY: Node (from 22.21 and 24.5 on) takes it where NODE_USE_ENV_PROXY=1 is set too.'
      : '';
  return new HubError(
    `${origin} cannot be reached (${reasonOf(error)}). Check the connection, or HF_ENDPOINT if it names a mirror.${proxy} ` +
      'What is in the cache can be used without a network: local_files_only: true, or HF_HUB_OFFLINE=1.',
  );
}

/** Follows redirects itself: what another host gets is a request without the user's token. */
async function follow(url: string, { method = 'GET', headers = {}, body, timeout = answerTimeout() }: Ask): Promise<Response> {
  const { origin } = new URL(url);
  // The Hub's hosts may see a token for the Hub; any other token stays with the host that it was for.
  const trusted = hubOrigins().has(origin) ? hubOrigins() : new Set([origin]);
  let [at, how, sent, told] = [url, method, body, headers];
  for (let hop = 0; hop < 20; hop++) {
    const given = new AbortController();
    const timer = timeout ? setTimeout(() => given.abort(new DOMException('no answer', 'TimeoutError')), timeout) : undefined;
    const answer = await fetch(at, { method: how, headers: told, body: sent, redirect: 'manual', signal: given.signal }).finally(() =>
      clearTimeout(timer),
    );
    const to = answer.headers.get('location');
    if (!REDIRECTS.includes(answer.status) || to === null) return answer;
    await answer.body?.cancel();
    at = new URL(to, at).href;
    if (!/^https?:/.test(at)) throw new HubError(`${url} leads to ${at}, which is no web address.`);
    if (!trusted.has(new URL(at).origin))
      told = Object.fromEntries(Object.entries(told).filter(([name]) => !/^(authorization|cookie)$/i.test(name)));
    if (how === 'POST' && answer.status <= 303) [how, sent] = ['GET', undefined];
  }
  throw new HubError(`${url} leads from one address to the next without an end.`);
}

/**
 * Asks for an address, again where the connection breaks or the answer is a passing one, after the pause that the hub asks for. Other
 * refusals are the caller's to explain. A HubError where no answer comes.
 */
export async function ask(url: string, options: Ask = {}): Promise<Response> {
  const { retries = RETRY.times } = options;
  for (let n = 0; ; n++) {
    let answer: Response;
    try {
      answer = await follow(url, options);
    } catch (error) {
      if (error instanceof HubError) throw error;
      if (n >= retries) throw unreachable(url, error);
      await rest(n);
      continue;
    }
    const wait = askedToWait(answer.headers);
    if (!PASSING.includes(answer.status) || n >= retries || (wait ?? 0) > PATIENCE) return answer;
    await answer.body?.cancel();
    if (wait !== undefined && wait > 1)
      emit('progress', { id: 'hub', text: `${new URL(url).host} asks to wait ${Math.ceil(wait)} s.`, done: true });
    await sleep(wait === undefined ? pause(n) : 1000 * wait);
  }
}

/** The bytes of an answer as they come; silence is an error. */
export async function* bytesOf(answer: Response): AsyncGenerator<Uint8Array> {
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      const silence = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new DOMException('silence', 'TimeoutError')), streamTimeout());
      });
      const { done, value } = await Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** The JSON of an answer; what is none says that something else answers there. */
export async function jsonOf<T>(answer: Response): Promise<T> {
  const text = await answer.text();
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new HubError(
      `${answer.url} answered with what is no JSON (${JSON.stringify(text.slice(0, 60))}): a page of a proxy or of a login, perhaps. Check HF_ENDPOINT and the network.`,
      answer.status,
    );
  }
}

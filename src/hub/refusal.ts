import { HubError } from '../core/errors';
import { pageOf, type Repo } from './repo';
import { endpoint } from './settings';
import { HOW_TO_LOG_IN, type Token } from './token';

/** What was asked for when a hub refused. */
export interface About {
  repo: Repo;
  token?: Token;
  revision?: string;
  file?: string;
  /** Whether something was to be written. */
  writes?: boolean;
}

const own = (token?: Token) => (token ? `The token is that of ${token.from}.` : `No token was given. ${HOW_TO_LOG_IN}`);

/** What the hub itself says: a header, or the body's error. */
async function wordsOf(answer: Response): Promise<string> {
  const header = answer.headers.get('x-error-message');
  const body = await answer.text().catch(() => '');
  let said: unknown;
  try {
    const json = JSON.parse(body) as { error?: unknown; message?: unknown; errors?: { message?: string }[] };
    said = json.errors?.map(({ message }) => message).join('; ') ?? json.error ?? json.message;
  } catch {}
  const words = header ?? (typeof said === 'string' ? said : '');
  return words ? ` The Hub says: "${words.slice(0, 300)}"` : '';
}

/** The error of an answer that is a refusal: what happened and what to do about it. */
export async function refusal(answer: Response, { repo, token, revision = 'main', file, writes }: About): Promise<HubError> {
  const code = answer.headers.get('x-error-code') ?? undefined;
  const words = await wordsOf(answer);
  const name = `The ${repo.type} '${repo.id}'`;
  const error = (text: string) => new HubError(text + words, answer.status, code);
  const { status } = answer;
  if (status === 429)
    return error(`${endpoint()} was asked too often and gives no more for now. Wait some minutes; with a token one may ask more often.`);
  if (status >= 500) return error(`${endpoint()} is out of order (status ${status}). Try again later.`);
  if (code === 'GatedRepo')
    return error(
      `${name} is gated: its owner lets in only those who asked. Ask for access at ${pageOf(repo)} with your account, and when it is granted ` +
        (token
          ? `load it again. ${own(token)} It must be one of that account, and a fine-grained one needs the right to read gated repositories.`
          : `give a token of that account. ${HOW_TO_LOG_IN}`),
    );
  if (code === 'RevisionNotFound')
    return error(`${name} has no revision '${revision}'. Its branches and tags are listed at ${pageOf(repo)}/tree/main.`);
  if (code === 'EntryNotFound')
    return error(`${name} has no file '${file}' at revision '${revision}'. See ${pageOf(repo)}/tree/${revision}.`);
  if (writes && (status === 401 || status === 403))
    return error(
      `${name} may not be written to. ${own(token)} It needs the right to write${token ? ' there: make one at https://huggingface.co/settings/tokens' : ''}.`,
    );
  if (status === 401 && token && /invalid/i.test(words))
    return error(`${endpoint()} does not know the token of ${token.from}. Make a new one at https://huggingface.co/settings/tokens.`);
  // The Hub answers 401 for what is not there too, so as not to tell of what is private.
  if (code === 'RepoNotFound' || status === 401 || status === 404)
    return error(
      `${name} is not on ${endpoint()}, or it is private and the token given has no access. Check the name. ` +
        `If it is private: ${token ? `${own(token)} Is it of an account that may read it?` : own(token)}`,
    );
  if (status === 403) return error(`${name} may not be read. ${own(token)}`);
  return error(`${endpoint()} answered with status ${status} when asked for ${repo.id}${file ? `/${file}` : ''}.`);
}

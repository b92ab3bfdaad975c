import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { FileError } from '../core/errors';

/** How one proves to Kaggle who one is, and where that came from, as an error tells it. */
export interface KaggleCredentials {
  header: string;
  from: string;
}

export const HOW_TO_GET_KAGGLE =
  'Make an API token at https://www.kaggle.com/settings (API) and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or save it as ~/.kaggle/kaggle.json.';

const read = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, 'utf8').trim() || undefined : undefined);
const bearer = (token: string, from: string): KaggleCredentials => ({ header: `Bearer ${token}`, from });
const basic = (username: string, key: string, from: string): KaggleCredentials => ({
  header: `Basic ${Buffer.from(`${username}:${key}`).toString('base64')}`,
  from,
});

/** Kaggle's credentials in the order in which kagglehub looks for them; undefined where there are none. */
export function kaggleCredentials(): KaggleCredentials | undefined {
  const { KAGGLE_API_TOKEN, KAGGLE_USERNAME, KAGGLE_KEY, KAGGLE_CONFIG_DIR } = process.env;
  if (KAGGLE_API_TOKEN) {
    const token = existsSync(KAGGLE_API_TOKEN) ? read(KAGGLE_API_TOKEN) : KAGGLE_API_TOKEN.trim();
    if (token) return bearer(token, 'KAGGLE_API_TOKEN');
  }
  for (const name of ['access_token', 'access_token.txt']) {
    const path = join(homedir(), '.kaggle', name);
    const token = read(path);
    if (token) return bearer(token, path);
  }
  if (KAGGLE_USERNAME && KAGGLE_KEY) return basic(KAGGLE_USERNAME, KAGGLE_KEY, 'KAGGLE_USERNAME and KAGGLE_KEY');
  const path = join(KAGGLE_CONFIG_DIR || join(homedir(), '.kaggle'), 'kaggle.json');
  const text = read(path);
  if (text === undefined) return undefined;
  let json: { username?: unknown; key?: unknown } = {};
  try {
    json = JSON.parse(text);
  } catch {}
  if (typeof json?.username !== 'string' || typeof json.key !== 'string')
    throw new FileError(`${path} is no credentials file of Kaggle: it has no username and key. ${HOW_TO_GET_KAGGLE}`);
  return basic(json.username, json.key, path);
}

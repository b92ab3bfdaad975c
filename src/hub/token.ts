import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OptionError } from '../core/errors';
import { show } from '../core/options';
import { type HubOptions, implicitToken, tokenPath } from './settings';

/** An access token and where it came from, as an error tells it. */
export interface Token {
  value: string;
  from: string;
}

const clean = (text: string | undefined): string | undefined => text?.replace(/[\r\n]/g, '').trim() || undefined;

/** What `hf auth login` keeps beside the active token: [name, its fields], of an INI file. */
function stored(): Map<string, Record<string, string>> {
  const path = join(dirname(tokenPath()), 'stored_tokens');
  const found = new Map<string, Record<string, string>>();
  if (!existsSync(path)) return found;
  let fields: Record<string, string> = {};
  for (const line of readFileSync(path, 'utf8').split(/\r?\n/)) {
    const section = line.match(/^\s*\[(.+)\]\s*$/)?.[1];
    const [, key, value] = line.match(/^\s*([^=:\s]+)\s*[=:]\s*(.*?)\s*$/) ?? [];
    if (section) {
      fields = {};
      found.set(section, fields);
    } else if (key) fields[key] = value;
  }
  return found;
}

/** The token of HF_TOKEN, else of the last login; undefined where there is none, or where none is wanted. */
export function tokenOf(wanted: HubOptions['token']): Token | undefined {
  if (wanted === false) return undefined;
  if (typeof wanted === 'string') {
    const named = stored().get(wanted)?.hf_token;
    if (named) return { value: named, from: `the stored token ${show(wanted)}` };
    const value = clean(wanted);
    if (!value || /\s/.test(value)) throw new OptionError("token is empty or holds spaces. Give an access token such as 'hf_...'.");
    return { value, from: 'the option token' };
  }
  if (wanted !== null && wanted !== true && wanted !== undefined)
    throw new OptionError(`token is ${show(wanted)}; it can be an access token, true, false or null.`);
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN } = process.env;
  const [variable, given] = HF_TOKEN ? ['HF_TOKEN', HF_TOKEN] : ['HUGGING_FACE_HUB_TOKEN', HUGGING_FACE_HUB_TOKEN];
  const found = clean(given);
  let token: Token | undefined = found ? { value: found, from: variable } : undefined;
  if (!token && existsSync(tokenPath())) {
    const value = clean(readFileSync(tokenPath(), 'utf8'));
    if (value) token = { value, from: `the login (${tokenPath()}${expiry(value)})` };
  }
  if (wanted === true && !token) throw new OptionError(`token is true, but there is no token. ${HOW_TO_LOG_IN}`);
  return wanted === true || implicitToken() ? token : undefined;
}

/** Says when a token of a login in the browser is over. */
function expiry(value: string): string {
  const fields = [...stored().values()].find(({ hf_token }) => hf_token === value);
  const until = Number(fields?.expires_at) * 1000;
  return until && until < Date.now() ? ', which is over since '.concat(new Date(until).toISOString().slice(0, 10)) : '';
}

export const HOW_TO_LOG_IN =
  "Make one at https://huggingface.co/settings/tokens and set HF_TOKEN, run `hf auth login`, or give it as token: 'hf_...'.";

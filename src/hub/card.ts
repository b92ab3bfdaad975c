import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { repoOf } from './repo';
import { CARD_MARK } from './upload';

type Field = string | readonly string[] | undefined;

/** A text as YAML takes it for what it is. */
const scalar = (text: string): string =>
  /^[A-Za-z][\w./-]*$/.test(text) && !/^(true|false|yes|no|on|off|null)$/i.test(text) ? text : JSON.stringify(text);

/** A README.md as the Hub reads it: fields of its front matter (those undefined or empty are left out), then Markdown. */
export function card(fields: Record<string, Field>, body: string): string {
  const lines = Object.entries(fields).flatMap(([name, value]) => {
    if (value === undefined || value.length === 0) return [];
    return typeof value === 'string' ? [`${name}: ${scalar(value)}`] : [`${name}:`, ...value.map((item) => `- ${scalar(item)}`)];
  });
  return `---\n${lines.join('\n')}\n---\n\n${CARD_MARK}\n\n${body.trim()}\n`;
}

/** A model's name as a card may name it: the Hub refuses cards whose base_model is a folder of this machine, or of another hub. */
export const cardName = (name: string): string | undefined => (repoOf(name) && !existsSync(resolve(name)) ? name : undefined);

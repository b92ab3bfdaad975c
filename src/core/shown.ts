import { type InspectOptions, inspect } from 'node:util';
import { emit } from './events';
import { cellText, escapeHtml } from './html';

/** What notebooks ask a value for that knows how it is to be shown. */
export const DISPLAY = Symbol.for('Jupyter.display');

export type Shown = Record<'text/plain' | 'text/html', string>;

/** Names of options that are none of a reader's business. */
const isInner = (name: string) => name.startsWith('_');
const valueText = (value: unknown) => inspect(value, { depth: 6, breakLength: Number.POSITIVE_INFINITY });

/** A table of names and values. */
export const pairsHtml = (pairs: readonly (readonly [string, unknown])[]): string =>
  `<table><tbody>${pairs
    .map(([name, value]) => {
      const text = typeof value === 'number' ? cellText(value) : typeof value === 'string' ? value : valueText(value);
      return `<tr><th style="text-align:left">${escapeHtml(name)}</th><td style="text-align:left">${escapeHtml(text)}</td></tr>`;
    })
    .join('')}</tbody></table>`;

/** Words in lines of at most so many characters. */
function wrapped(words: readonly string[], width = 100): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Options: those that differ from their defaults first, the others after them. Without defaults all are alike. */
export function optionsShown(name: string, options: object, defaults: object = {}): Shown {
  const same = (option: string, value: unknown) =>
    Object.hasOwn(defaults, option) && JSON.stringify((defaults as Record<string, unknown>)[option]) === JSON.stringify(value);
  const all = Object.entries(options).filter(([option, value]) => !isInner(option) && value !== undefined);
  const own = all.filter(([option, value]) => !same(option, value));
  const rest = all.filter(([option, value]) => same(option, value));
  const pair = ([option, value]: [string, unknown]) => `${option}: ${valueText(value)},`;
  const lines = own.map(pair);
  if (rest.length) lines.push('// by default:', ...wrapped(rest.map(pair)).map((line) => `// ${line}`));
  const text = lines.length ? `${name}({\n  ${lines.join('\n  ')}\n})` : `${name}({})`;
  const more = rest.length ? `<details><summary>${rest.length} options by default</summary>${pairsHtml(rest)}</details>` : '';
  const html = `<p><b>${escapeHtml(name)}</b></p>${own.length ? pairsHtml(own) : ''}${more}`;
  return { 'text/plain': text, 'text/html': html };
}

/** Lets a plain value (a list, an object, a function) show itself, and changes nothing else of it. */
export function shownAs<T extends object>(value: T, html: () => string, text?: () => string): T {
  const plain = () => (Array.isArray(value) ? [...value] : { ...value });
  const custom = (_: number, options: InspectOptions) => text?.() ?? inspect(plain(), { ...options, depth: 8 });
  const display = (): Shown => ({ 'text/plain': inspect(value), 'text/html': html() });
  return Object.defineProperties(value, { [inspect.custom]: { value: custom }, [DISPLAY]: { value: display } });
}

/** Figures by name, those inside others behind a dot. */
export function figuresHtml(figures: object): string {
  const flat = (of: object, before = ''): [string, unknown][] =>
    Object.entries(of).flatMap(([name, value]) =>
      typeof value === 'object' && value !== null && !Array.isArray(value) ? flat(value, `${before}${name}.`) : [[before + name, value]],
    );
  return pairsHtml(flat(figures));
}

/** Text as it stands, with a line above it. */
export const preHtml = (head: string, text: string): string => `<p>${escapeHtml(head)}</p><pre>${escapeHtml(text)}</pre>`;

/** What a value shows, with a chart of its figures above the table where somebody draws one. */
export async function withChart(
  shown: Shown,
  chart: { kind: string; data: object; alt: string },
): Promise<Shown & { 'image/png'?: string }> {
  let drawn: Promise<Uint8Array> | undefined;
  emit('chart', { kind: chart.kind, data: chart.data, give: (png) => (drawn = png) });
  if (!drawn) return shown;
  const png = Buffer.from(await drawn).toString('base64');
  const image = `<img alt="${escapeHtml(chart.alt)}" src="data:image/png;base64,${png}">`;
  return { ...shown, 'text/html': `${image}${shown['text/html']}`, 'image/png': png };
}

import { escapeHtml } from '../core/html';
import type { Bundle } from './display';

/** What a view is made of for readers of all kinds. */
export interface Parts {
  mime: string;
  payload: object;
  /** First line of the plain text. */
  title: string;
  /** Lines under it in the plain text alone. */
  notes?: readonly string[];
  rows: readonly (readonly [label: string, value: string])[];
  /** A PNG and what stands for it where it cannot be seen; pixels across, where not its own. */
  picture?: { png: Buffer; alt: string; width?: number };
}

const cell = (tag: 'th' | 'td', text: string) => `<${tag} style="text-align:left">${escapeHtml(text)}</${tag}>`;

/** One output for all readers: our view, a table with the picture in it, the picture, text. No script. */
export function bundleOf({ mime, payload, title, notes = [], rows, picture }: Parts): Bundle {
  const png = picture?.png.toString('base64');
  const width = picture?.width ? ` width="${picture.width}"` : '';
  const image = picture ? `<img alt="${escapeHtml(picture.alt)}"${width} src="data:image/png;base64,${png}">` : '';
  return {
    [mime]: payload,
    'text/html': `${image}<table>${rows.map(([label, value]) => `<tr>${cell('th', label)}${cell('td', value)}</tr>`).join('')}</table>`,
    ...(png ? { 'image/png': png } : {}),
    'text/plain': [title, ...notes, ...rows.map(([label, value]) => `${label}: ${value}`)].join('\n'),
  };
}

import { OptionError } from '../core/errors';
import { emit } from '../core/events';
import { cellText, tableHtml } from '../core/html';

function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines: string[] = [];
    let line = '';
    for (const word of paragraph.split(' ')) {
      if (line && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line ? `${line} ${word}` : word;
    }
    return [...lines, line];
  });
}

/** Shows rows as a table in the notebook, or as text on a terminal: `showTable([{ question, before, after }])`. */
export function showTable(rows: Record<string, unknown>[]): void {
  if (!rows.length) throw new OptionError('showTable got no rows. Give a list of objects; their keys become the columns.');
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const html = tableHtml(rows);
  const widths = columns.map((c) => Math.min(44, Math.max(c.length, ...rows.map((row) => cellText(row[c]).length))));
  const line = (cells: string[]) => {
    const parts = cells.map((text, i) => wrap(text, widths[i]));
    const height = Math.max(...parts.map((p) => p.length));
    return Array.from({ length: height }, (_, y) =>
      parts
        .map((p, i) => (p[y] ?? '').padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    ).join('\n');
  };
  const text = [
    line(columns),
    widths.map((w) => '-'.repeat(w)).join('  '),
    ...rows.map((row) => line(columns.map((c) => cellText(row[c])))),
  ].join('\n');
  emit('show', { html, text });
}

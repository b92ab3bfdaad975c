/** Text as it may stand in HTML, in attributes too. */
export const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** A value as text in a table: no more than a person reads. */
export function cellText(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'number')
    return String(Math.abs(value) >= 1e4 ? Math.round(value) : Number.isInteger(value) ? value : Number(value.toPrecision(5)));
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Rows as lines of text: a name and a value for each column. */
export const rowLines = (rows: readonly Record<string, unknown>[]): string[] =>
  rows.map((row) =>
    Object.entries(row)
      .map(([name, value]) => `${name}: ${value}`)
      .join(', '),
  );

/** Rows as a table; columns are the keys of all of them. */
export function tableHtml(rows: readonly Record<string, unknown>[], cell = cellText): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const head = columns.map((c) => `<th style="text-align:left">${escapeHtml(c)}</th>`).join('');
  const cellOf = (value: unknown) =>
    `<td style="text-align:left;vertical-align:top">${escapeHtml(cell(value)).replaceAll('\n', '<br>')}</td>`;
  const body = rows.map((row) => `<tr>${columns.map((c) => cellOf(row[c])).join('')}</tr>`).join('');
  return `<table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
}

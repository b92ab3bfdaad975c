import { DataError } from '../core/errors';

export type Cell = string | number | boolean | null;

/** What pandas reads as missing. */
const MISSING = new Set(',#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null'.split(','));
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
const FLAG = /^(true|false)$/i;

/** The fields of each record of RFC 4180's CSV, with the line that it begins on. Lines end with LF, CRLF or CR; blank ones are passed over. */
function records(text: string, separator: string, path: string): { line: number; fields: string[]; quoted: boolean[] }[] {
  const found: { line: number; fields: string[]; quoted: boolean[] }[] = [];
  let [at, line] = [0, 1];
  while (at < text.length) {
    const record = { line, fields: [] as string[], quoted: [] as boolean[] };
    for (let more = true; more; ) {
      const isQuoted = text[at] === '"';
      let field = '';
      if (isQuoted) {
        const from = line;
        for (at++; ; at++) {
          if (at >= text.length)
            throw new DataError(`${path}, line ${from}: a quoted field is not closed. A quote inside a field is written twice ("").`);
          if (text[at] === '"' && text[at + 1] !== '"') break;
          if (text[at] === '"') at++;
          if (text[at] === '\n' || (text[at] === '\r' && text[at + 1] !== '\n')) line++;
          field += text[at];
        }
        at++;
      }
      const from = at;
      while (at < text.length && text[at] !== separator && text[at] !== '\n' && text[at] !== '\r') at++;
      record.fields.push(field + text.slice(from, at));
      record.quoted.push(isQuoted);
      more = text[at] === separator;
      if (more) at++;
    }
    if (text[at] === '\r' && text[at + 1] === '\n') at++;
    at++;
    line++;
    if (record.fields.length > 1 || record.fields[0] !== '' || record.quoted[0]) found.push(record);
  }
  return found;
}

/** A column's values: numbers or flags where all that are not missing are such, else texts. */
function typed(column: (string | null)[]): Cell[] {
  const there = column.filter((value) => value !== null);
  if (there.length && there.every((value) => FLAG.test(value))) return column.map((value) => value && value.toLowerCase() === 'true');
  const whole = (value: string) => !/^\s*[+-]?\d+\s*$/.test(value) || Number.isSafeInteger(Number(value));
  if (there.length && there.every((value) => NUMBER.test(value) && whole(value)))
    return column.map((value) => (value === null ? null : Number(value)));
  return column;
}

/**
 * Rows of a CSV text whose first line has the columns' names, with the types that pandas finds: numbers, true and false, null for what is
 * missing, and texts. A DataError names the line of what is no CSV.
 */
export function readCsv(text: string, path: string, separator = ','): Record<string, Cell>[] {
  const [head, ...rest] = records(text, separator, path);
  if (!head) return [];
  const seen = new Map<string, number>();
  const names = head.fields.map((field, i) => {
    const name = field === '' ? `Unnamed: ${i}` : field;
    const times = seen.get(name) ?? 0;
    seen.set(name, times + 1);
    return times ? `${name}.${times}` : name;
  });
  const columns: (string | null)[][] = names.map(() => []);
  for (const { line, fields } of rest) {
    if (fields.length > names.length)
      throw new DataError(
        `${path}, line ${line} has ${fields.length} fields, but the first line names ${names.length} columns. A field with ${JSON.stringify(separator)} in it must stand in quotes.`,
      );
    for (const [i, column] of columns.entries()) {
      const field = fields[i];
      column.push(field === undefined || MISSING.has(field) ? null : field);
    }
  }
  const values = columns.map(typed);
  return rest.map((_, row) => Object.fromEntries(names.map((name, i) => [name, values[i][row]])));
}

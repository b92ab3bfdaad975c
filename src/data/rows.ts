import { createReadStream } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { createGunzip } from 'node:zlib';
import { DataError, FileError } from '../core/errors';
import { show } from '../core/options';
import { readCsv } from '../formats/csv';
import { readParquet } from '../formats/parquet';
import { decodeText, linesOf, readText } from '../formats/text';

export type Row = Record<string, unknown>;

/** How files of rows are read, under the names that load_dataset has for them. */
export const ROW_FORMATS = ['json', 'csv', 'parquet', 'text'] as const;
export type RowFormat = (typeof ROW_FORMATS)[number];

/** What of a reading may be said. */
export interface RowOptions {
  /** In a .json file the list of rows is the value of this key. Default: null. */
  field: string | null;
  /** What stands between the fields of a CSV file. Default: null (a comma, semicolon or tab, by its first lines). */
  delimiter: string | null;
}
export const ROW_DEFAULTS: RowOptions = { field: null, delimiter: null };

const ENDINGS: Record<string, RowFormat> = {
  ...{ jsonl: 'json', ndjson: 'json', json: 'json', csv: 'csv', tsv: 'csv', parquet: 'parquet', txt: 'text' },
};
export const endingOf = (path: string): string => path.toLowerCase().match(/\.(\w+?)(\.gz)?$/)?.[1] ?? '';

/** How a file is read, by the end of its name; undefined for what holds no rows. */
export const formatOf = (path: string): RowFormat | undefined =>
  Object.hasOwn(ENDINGS, endingOf(path)) ? ENDINGS[endingOf(path)] : undefined;

/** The mark between the fields of a table of separated values: by its first two lines, where no JSON begins there. */
export function separatorOf(text: string): string | undefined {
  const [head = '', first = ''] = text.replace(/^\ufeff/, '').split(/\r\n|\n|\r/, 2);
  if (/^\s*[{[]/.test(head)) return undefined;
  return [',', ';', '\t'].find((mark) => head.includes(mark) && first.split(mark).length >= head.split(mark).length);
}

/** Fails where what should be JSON is CSV. */
function refuseCsv(text: string, path: string): void {
  const separator = separatorOf(text);
  if (!separator) return;
  const columns = text
    .split(/\r\n|\n|\r/, 1)[0]
    .split(separator)
    .map((name) => show(name.replace(/^"|"$/g, '')));
  throw new DataError(
    `${path} is CSV and not JSON: its first line names the columns ${columns.join(', ')}. Read it as such: load_dataset('csv', { data_files: ${show(path)} }).`,
  );
}

const isRow = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A .json file: a list of objects, or lines of them. */
function rowsOfJson(text: string, path: string, field: string | null): Row[] {
  if (field === null && /^\s*\{[^\n\r]*\}\s*[\n\r]/.test(text) && !/^\s*\{\s*[\n\r]/.test(text)) return rowsOfLines(text, path);
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch (error) {
    refuseCsv(text, path);
    throw new DataError(
      `${path} is not JSON (${(error as Error).message}). A list of objects is expected, or JSON Lines in a .jsonl file.`,
    );
  }
  if (field !== null) {
    const inside = isRow(rows) && Object.hasOwn(rows, field) ? rows[field] : undefined;
    if (!Array.isArray(inside)) throw new DataError(`${path} has no list of rows under ${show(field)}.`);
    rows = inside;
  }
  if (!Array.isArray(rows)) {
    const lists = isRow(rows) ? Object.keys(rows).filter((key) => Array.isArray((rows as Row)[key])) : [];
    throw new DataError(
      `${path} does not hold a list of rows.${lists.length ? ` If they are under ${lists.map(show).join(' or ')}, say so: { field: ${show(lists[0])} }.` : ''}`,
    );
  }
  const wrong = rows.findIndex((row) => !isRow(row));
  if (wrong >= 0) throw new DataError(`${path}: row ${wrong} is ${show(rows[wrong])}, but each row must be an object.`);
  return rows;
}

/** The object on a line of a .jsonl file; undefined for a blank one. Byte order marks of joined files are passed over. */
export function rowOfLine(line: string, i: number, path: string, text = line): Row | undefined {
  if (!line.trim()) return undefined;
  const where = `${path}, line ${i + 1}`;
  if (line.includes('\0'))
    throw new DataError(`${where} holds NUL bytes, which are no text: the file was not written to its end, or is of another kind.`);
  let row: unknown;
  try {
    row = JSON.parse(line.replace(/^\ufeff/, ''));
  } catch (error) {
    if (!i) refuseCsv(text, path);
    throw new DataError(`${where} is not JSON (${(error as Error).message}). Each line must be one object.`);
  }
  if (!isRow(row)) throw new DataError(`${where} is ${show(row)}, but each line must be one object.`);
  return row;
}

/** A .jsonl file: an object a line. Lines may end as on any system. */
const rowsOfLines = (text: string, path: string): Row[] =>
  linesOf(text)
    .map((line, i) => rowOfLine(line, i, path, text))
    .filter((row) => row !== undefined);

/** A text file: a row a line. */
function rowsOfText(text: string): Row[] {
  const lines = linesOf(text);
  if (lines.at(-1) === '') lines.pop();
  return lines.map((line) => ({ text: line }));
}

async function textOf(path: string): Promise<string> {
  if (!path.toLowerCase().endsWith('.gz')) return readText(path);
  try {
    return decodeText(await buffer(createReadStream(path).pipe(createGunzip())), path);
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw new FileError(`${path} cannot be unpacked (${(error as Error).message}): it is damaged, or no gzip file.`);
  }
}

/** The rows of a file: JSON Lines, JSON, CSV, Parquet or text by its name, or as `format` says; packed by gzip where it ends with .gz. */
export async function readRows(path: string, { field, delimiter }: RowOptions = ROW_DEFAULTS, format = formatOf(path)): Promise<Row[]> {
  if (format === 'parquet') return readParquet(path);
  const text = await textOf(path);
  if (format === 'csv') return readCsv(text, path, delimiter ?? (endingOf(path) === 'tsv' ? '\t' : (separatorOf(text) ?? ',')));
  if (format === 'text') return rowsOfText(text);
  return endingOf(path) === 'json' || field !== null ? rowsOfJson(text, path, field) : rowsOfLines(text, path);
}

import { DataError } from '../core/errors';

export type Cell = string | number | boolean | null;

/** What pandas reads as missing. */
const MISSING = new Set(',#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null'.split(','));
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
const FLAG = /^(true|false)$/i;

/** A quoted field that is not closed where the text ends: its line. */
class Unclosed extends Error {
  constructor(readonly line: number) {
    super();
  }
}

/** One line of a table, or several where a quoted field has line ends in it. */
interface CsvRecord {
  line: number;
  fields: string[];
}

/** The fields of each record of RFC 4180's CSV, with the line that it begins on. Lines end with LF, CRLF or CR; blank ones are passed over. */
function records(text: string, separator: string, firstLine = 1): CsvRecord[] {
  const found: CsvRecord[] = [];
  let [at, line] = [0, firstLine];
  while (at < text.length) {
    const record = { line, fields: [] as string[] };
    let quotedFirst = false;
    for (let more = true; more; ) {
      const isQuoted = text[at] === '"';
      let field = '';
      if (isQuoted) {
        const from = line;
        for (at++; ; at++) {
          if (at >= text.length) throw new Unclosed(from);
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
      if (record.fields.length === 1) quotedFirst = isQuoted;
      more = text[at] === separator;
      if (more) at++;
    }
    if (text[at] === '\r' && text[at + 1] === '\n') at++;
    at++;
    line++;
    if (record.fields.length > 1 || record.fields[0] !== '' || quotedFirst) found.push(record);
  }
  return found;
}

/** Whether a quoted field is open where a text ends, which no line end outside of quotes is in the midst of; `open`: where it begins. */
function leavesOpen(text: string, separator: string, open: boolean): boolean {
  let at = 0;
  for (let quoted = open; ; quoted = false) {
    if (!quoted && text[at] === '"') {
      quoted = true;
      at++;
    }
    if (quoted) {
      at = text.indexOf('"', at);
      while (at >= 0 && text[at + 1] === '"') at = text.indexOf('"', at + 2);
      if (at < 0) return true;
    }
    at = text.indexOf(separator, at) + 1;
    if (!at) return false;
  }
}

type Kind = 'number' | 'flag' | 'text';

/** What a column holds: numbers or flags where all that are not missing are such, else texts. */
function kindOf(column: (string | null)[]): Kind {
  const there = column.filter((value) => value !== null);
  if (there.length && there.every(isKind.flag)) return 'flag';
  return there.length && there.every(isKind.number) ? 'number' : 'text';
}
const isKind: Record<Kind, (value: string) => boolean> = {
  flag: (value) => FLAG.test(value),
  number: (value) => NUMBER.test(value) && (!/^\s*[+-]?\d+\s*$/.test(value) || Number.isSafeInteger(Number(value))),
  text: () => true,
};
const cast = (value: string | null, kind: Kind): Cell =>
  value === null || kind === 'text' ? value : kind === 'flag' ? value.toLowerCase() === 'true' : Number(value);

/** The names of columns by the first record; the same name again gets a number behind it, as in pandas. */
function namesOf({ fields }: CsvRecord): string[] {
  const seen = new Map<string, number>();
  return fields.map((field, i) => {
    const name = field === '' ? `Unnamed: ${i}` : field;
    const times = seen.get(name) ?? 0;
    seen.set(name, times + 1);
    return times ? `${name}.${times}` : name;
  });
}

function valuesOf({ line, fields }: CsvRecord, columns: number, separator: string, path: string): (string | null)[] {
  if (fields.length > columns)
    throw new DataError(
      `${path}, line ${line} has ${fields.length} fields, but the first line names ${columns} columns. A field with ${JSON.stringify(separator)} in it must stand in quotes.`,
    );
  return Array.from({ length: columns }, (_, i) => (fields[i] === undefined || MISSING.has(fields[i]) ? null : fields[i]));
}

const unclosed = (path: string, { line }: Unclosed) =>
  new DataError(`${path}, line ${line}: a quoted field is not closed. A quote inside a field is written twice ("").`);

/**
 * Rows of a CSV text whose first line has the columns' names, with the types that pandas finds: numbers, true and false, null for what is
 * missing, and texts. A DataError names the line of what is no CSV.
 */
export function readCsv(text: string, path: string, separator = ','): Record<string, Cell>[] {
  let all: CsvRecord[];
  try {
    all = records(text, separator);
  } catch (error) {
    throw error instanceof Unclosed ? unclosed(path, error) : error;
  }
  const [head, ...rest] = all;
  if (!head) return [];
  const names = namesOf(head);
  const rows = rest.map((record) => valuesOf(record, names.length, separator, path));
  const kinds = names.map((_, i) => kindOf(rows.map((row) => row[i])));
  return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, cast(row[i], kinds[i])])));
}

/** Rows that say what the columns of a stream hold. */
const SAMPLE = 1000;
/** A field of more characters than this is a quote that was never closed. */
const LONGEST = 1 << 24;

/** A CSV file that comes line by line. What its columns hold is told by the first 1,000 rows. */
export class CsvReader {
  /** The lines of a record that has not ended. */
  private pending: string[] = [];
  private length = 0;
  private line = 0;
  private names?: string[];
  private kinds?: Kind[];
  private kept: { line: number; values: (string | null)[] }[] = [];

  constructor(
    private readonly path: string,
    private readonly separator: string,
  ) {}

  /** Takes the next line, with its line end. */
  add(text: string): void {
    const open = leavesOpen(text, this.separator, this.pending.length > 0);
    this.line++;
    this.pending.push(text);
    this.length += text.length;
    if (!open || this.length >= LONGEST) this.parse();
  }

  private parse(): void {
    const lines = this.pending;
    this.pending = [];
    this.length = 0;
    try {
      for (const one of records(lines.join(''), this.separator, this.line - lines.length + 1)) this.put(one);
    } catch (error) {
      throw error instanceof Unclosed ? unclosed(this.path, error) : error;
    }
  }

  private put(record: CsvRecord): void {
    if (!this.names) this.names = namesOf(record);
    else this.kept.push({ line: record.line, values: valuesOf(record, this.names.length, this.separator, this.path) });
  }

  /** The rows that are whole so far; none before their columns' types are told. */
  take(): Record<string, Cell>[] {
    return this.kinds || this.kept.length >= SAMPLE ? this.rows() : [];
  }

  /** The last rows. */
  finish(): Record<string, Cell>[] {
    if (this.pending.length) this.parse();
    return this.rows();
  }

  private rows(): Record<string, Cell>[] {
    const { kept, names = [] } = this;
    this.kept = [];
    this.kinds ??= names.map((_, i) => kindOf(kept.slice(0, SAMPLE).map(({ values }) => values[i])));
    const { kinds } = this;
    return kept.map(({ line, values }) =>
      Object.fromEntries(
        names.map((name, i) => {
          const value = values[i];
          if (value !== null && !isKind[kinds[i]](value))
            throw new DataError(
              `${this.path}, line ${line}: ${JSON.stringify(value)} in the column ${JSON.stringify(name)}, whose first ${SAMPLE} rows hold ${kinds[i] === 'flag' ? 'true and false' : 'numbers'} alone. ` +
                'A stream cannot go back: load the file without streaming, or as Parquet.',
            );
          return [name, cast(value, kinds[i])];
        }),
      ),
    );
  }
}

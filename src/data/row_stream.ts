import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { DataError, FileError, TunebookError } from '../core/errors';
import { CsvReader } from '../formats/csv';
import { parquetGroups } from '../formats/parquet';
import { lineBlocks, linesWithEnds } from '../formats/text';
import { endingOf, formatOf, type Row, type RowFormat, type RowOptions, readRows, rowOfLine, separatorOf } from './rows';

/** A .json file that is one list has to be read whole; larger ones are refused. */
const LARGEST_LIST = 256 * 1024 * 1024;
const isPacked = (path: string) => path.toLowerCase().endsWith('.gz');

async function* bytesOf(path: string): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  const packed = isPacked(path);
  const bytes = packed ? file.pipe(createGunzip()) : file;
  // An error of the file's does not reach what it is piped into by itself.
  if (packed) file.on('error', (error) => bytes.destroy(error));
  try {
    yield* bytes as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (error instanceof TunebookError) throw error;
    const why = (error as Error).message;
    throw new FileError(
      packed ? `${path} cannot be unpacked (${why}): it is damaged, or no gzip file.` : `${path} cannot be read (${why}).`,
    );
  } finally {
    file.destroy();
  }
}

async function* streamJson(path: string): AsyncGenerator<Row> {
  let line = 0;
  for await (const block of lineBlocks(bytesOf(path), path))
    for (const text of block) {
      const row = rowOfLine(text, line++, path);
      if (row) yield row;
    }
}

async function* streamText(path: string): AsyncGenerator<Row> {
  // The last line is empty where the one before it ends.
  let held: string | undefined;
  for await (const block of lineBlocks(bytesOf(path), path))
    for (const text of block) {
      if (held !== undefined) yield { text: held };
      held = text;
    }
  if (held) yield { text: held };
}

async function* streamCsv(path: string, delimiter: string | null): AsyncGenerator<Row> {
  let reader: CsvReader | undefined;
  for await (const block of lineBlocks(bytesOf(path), path, linesWithEnds)) {
    reader ??= new CsvReader(path, delimiter ?? (endingOf(path) === 'tsv' ? '\t' : (separatorOf(block.slice(0, 2).join('')) ?? ',')));
    for (const text of block) reader.add(text);
    yield* reader.take();
  }
  if (reader) yield* reader.finish();
}

const [OPEN, CLOSE, LF, CR] = Buffer.from('{}\n\r');
/** White space, and the bytes of a byte order mark. */
const BLANK = new Uint8Array(256);
for (const byte of Buffer.from(' \t\n\r\ufeff')) BLANK[byte] = 1;

/** Whether a .json file has an object a line, as many call such. No more is read of it than says so, or than one value may have. */
async function hasLines(path: string): Promise<boolean> {
  let last = 0;
  let size = 0;
  for await (const bytes of bytesOf(path)) {
    for (const byte of bytes) {
      if (last && (byte === LF || byte === CR)) return last === CLOSE;
      if (BLANK[byte]) continue;
      if (!last && byte !== OPEN) return false;
      last = byte;
    }
    size += bytes.length;
    if (size > LARGEST_LIST) break;
  }
  return false;
}

/** How large a file is, of a packed one what is in it; no more than is too large is unpacked for that. */
async function sizeOf(path: string): Promise<number> {
  if (!isPacked(path)) return (await stat(path)).size;
  let size = 0;
  for await (const bytes of bytesOf(path)) {
    size += bytes.length;
    if (size > LARGEST_LIST) break;
  }
  return size;
}

/** The rows of a file one by one, as `readRows` has them; no more of it is in memory than it takes. */
export async function* streamRows(path: string, options: RowOptions, format: RowFormat | undefined = formatOf(path)): AsyncGenerator<Row> {
  if (format === 'parquet') {
    for await (const rows of parquetGroups(path)) yield* rows;
  } else if (format === 'text') yield* streamText(path);
  else if (format === 'csv') yield* streamCsv(path, options.delimiter);
  else if (options.field === null && (endingOf(path) !== 'json' || (await hasLines(path)))) yield* streamJson(path);
  else {
    const size = await sizeOf(path);
    if (size > LARGEST_LIST)
      throw new DataError(
        `${path} is one JSON value of ${isPacked(path) ? 'more than ' : ''}${Math.round(size / 1e6)} MB, which can only be read whole: there is no streaming it. ` +
          'Write a row a line (JSON Lines), in Python: load_dataset("json", data_files=path)["train"].to_json("rows.jsonl"); or leave streaming out.',
      );
    yield* await readRows(path, options, format);
  }
}

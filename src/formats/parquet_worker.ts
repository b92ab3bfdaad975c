// The thread of parquet.ts: a damaged file may have the parser spin or eat memory, and then this thread is ended alone.
import { type FileHandle, open } from 'node:fs/promises';
import { parentPort } from 'node:worker_threads';

const libraries = Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
libraries.catch(() => {}); // told with the first file
type FileMetaData = Awaited<ReturnType<Awaited<typeof libraries>[0]['parquetMetadataAsync']>>;

/** What the thread answers: rows of a group, all of them there were, or why not. */
export type Parsed = { rows: Record<string, unknown>[] } | { done: true } | { error: string };

const CODECS = ['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI', 'LZ4', 'ZSTD', 'LZ4_RAW'];

/** What a file of so many bytes can hold at the most, however well it is compressed. */
const most = (bytes: number) => 1e6 + 1024 * bytes;

/** Refuses what a footer says where it cannot be so. */
function check({ row_groups, num_rows }: FileMetaData, size: number): void {
  let rows = 0;
  for (const [i, group] of row_groups.entries()) {
    const of = `row group ${i}`;
    rows += Number(group.num_rows);
    if (!(Number(group.num_rows) >= 0) || rows > most(size)) throw new Error(`${of} has ${group.num_rows} rows`);
    for (const { meta_data: column } of group.columns) {
      if (!column) throw new Error(`${of} has a column elsewhere`);
      const { codec, num_values, data_page_offset, dictionary_page_offset, total_compressed_size, total_uncompressed_size } = column;
      const from = Number(dictionary_page_offset || data_page_offset);
      const bytes = Number(total_compressed_size);
      if (!CODECS.includes(codec)) throw new Error(`it is compressed in a way that is not known (${codec})`);
      if (!(from >= 4 && bytes >= 0 && from + bytes <= size))
        throw new Error(`${of} has a column at bytes ${from} to ${from + bytes} of ${size}`);
      if (!(Number(num_values) >= 0) || Number(num_values) > most(size)) throw new Error(`${of} has a column of ${num_values} values`);
      if (Number(total_uncompressed_size) > most(bytes))
        throw new Error(`${of} has a column that would take ${total_uncompressed_size} bytes`);
    }
  }
  if (Number(num_rows) !== rows) throw new Error(`it has ${rows} rows, but says ${num_rows}`);
}

/** As JavaScript has it: whole numbers of 64 bits as numbers where those hold them. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Date || ArrayBuffer.isView(value)) return value;
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return value === undefined ? null : value;
}

async function read(handle: FileHandle, tell: (parsed: Parsed) => void | Promise<void>): Promise<void> {
  const [{ parquetMetadataAsync, parquetReadObjects }, { compressors }] = await libraries;
  const { size: byteLength } = await handle.stat();
  const file = {
    byteLength,
    async slice(start: number, end = byteLength): Promise<ArrayBuffer> {
      if (!(start >= 0 && end >= start && end <= byteLength)) throw new Error(`it points to bytes ${start} to ${end} of ${byteLength}`);
      const buffer = new Uint8Array(end - start);
      for (let done = 0; done < buffer.length; ) {
        const { bytesRead } = await handle.read(buffer, done, buffer.length - done, start + done);
        if (!bytesRead) throw new Error('it became shorter while it was read');
        done += bytesRead;
      }
      return buffer.buffer;
    },
  };
  const bounded = Object.fromEntries(
    Object.entries(compressors).map(([codec, decompress]) => [
      codec,
      (input: Uint8Array, length: number) => {
        if (!(length >= 0 && length <= most(input.length))) throw new Error(`a page of ${input.length} bytes would take ${length}`);
        return (decompress as (input: Uint8Array, length: number) => Uint8Array)(input, length);
      },
    ]),
  );
  const metadata = await parquetMetadataAsync(file);
  check(metadata, byteLength);
  let rowStart = 0;
  for (const { num_rows } of metadata.row_groups) {
    const rowEnd = rowStart + Number(num_rows);
    const rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors: bounded });
    if (rows.length !== rowEnd - rowStart) throw new Error(`of ${rowEnd - rowStart} rows there are ${rows.length}`);
    await tell({ rows: rows.map((row) => plain(row) as Record<string, unknown>) });
    rowStart = rowEnd;
  }
}

/** A file to read; `paced`: the next group of rows only after another message. */
export type Order = { path: string; paced?: boolean } | 'more';

let more = () => {};
const told = () =>
  new Promise<void>((resolve) => {
    more = resolve;
  });

parentPort?.on('message', async (order: Order) => {
  if (order === 'more') return more();
  const tell = (parsed: Parsed) => parentPort?.postMessage(parsed);
  try {
    const handle = await open(order.path, 'r');
    try {
      await read(handle, (parsed) => {
        const asked = order.paced ? told() : undefined;
        tell(parsed);
        return asked;
      });
    } finally {
      await handle.close();
    }
    tell({ done: true });
  } catch (error) {
    tell({ error: String((error as Error)?.message ?? error) });
  }
});
void libraries.then(() => parentPort?.postMessage('ready'));

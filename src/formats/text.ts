import { readFile } from 'node:fs/promises';
import { FileError } from '../core/errors';

/** Byte order marks of what is not UTF-8; UTF-32's little-endian one begins as UTF-16's does. */
const OTHERS: [string, number[]][] = [
  ['UTF-32', [0xff, 0xfe, 0, 0]],
  ['UTF-32', [0, 0, 0xfe, 0xff]],
  ['UTF-16', [0xff, 0xfe]],
  ['UTF-16', [0xfe, 0xff]],
];

/** UTF-16 without its mark: of the first bytes nearly every second one is 0. */
function looksUtf16(bytes: Uint8Array): boolean {
  const pairs = Math.min(bytes.length >> 1, 128);
  return [0, 1].some((at) => {
    let zeros = 0;
    for (let i = 0; i < pairs; i++) if (bytes[2 * i + at] === 0 && bytes[2 * i + 1 - at] !== 0) zeros++;
    return pairs > 1 && zeros > 0.8 * pairs;
  });
}

/** Fails where a file's first bytes are of another encoding. */
function refuseOthers(bytes: Uint8Array, path: string): void {
  const other = OTHERS.find(([, mark]) => mark.every((byte, i) => bytes[i] === byte))?.[0] ?? (looksUtf16(bytes) ? 'UTF-16' : undefined);
  if (other)
    throw new FileError(`${path} is ${other}, but UTF-8 is expected. Save it as UTF-8: \`iconv -f ${other} -t UTF-8 FILE > NEW_FILE\`.`);
}

const notUtf8 = (path: string, line: number) =>
  new FileError(
    `${path} is not UTF-8 text (line ${line} holds bytes that are no character). If it was saved in an older encoding, convert it: ` +
      '`iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE`.',
  );

/** Bytes of a file as text: UTF-8, without its byte order mark. Anything else is a FileError that says how to convert it. */
export function decodeText(bytes: Uint8Array, path: string): string {
  refuseOthers(bytes, path);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const read = new TextDecoder().decode(bytes);
    throw notUtf8(path, read.slice(0, read.indexOf('\ufffd')).split('\n').length);
  }
}

/** The lines of a file that comes in pieces, those of a piece at once; the last is what stands behind the last line end. As `split` makes them of a text. */
export async function* lineBlocks(
  pieces: AsyncIterable<Uint8Array>,
  path: string,
  split: (text: string) => string[] = linesOf,
): AsyncGenerator<string[]> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let line = 1;
  let begun = false;
  // Of the line that has not ended: pieces are looked through for line ends once, however many it takes.
  const open: string[] = [];
  let held = '';
  const decode = (bytes?: Uint8Array) => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch {
      throw notUtf8(path, line + new TextDecoder().decode(bytes).split('\ufffd', 1)[0].split('\n').length - 1);
    }
  };
  for await (const bytes of pieces) {
    if (!begun) refuseOthers(bytes, path);
    begun = true;
    let text = held + decode(bytes);
    // The LF of a CRLF may come with the next piece.
    held = text.endsWith('\r') ? '\r' : '';
    if (held) text = text.slice(0, -1);
    const lines = split(text);
    const rest = lines.pop() as string;
    if (lines.length) lines[0] = open.splice(0).join('') + lines[0];
    open.push(rest);
    line += lines.length;
    if (lines.length) yield lines;
  }
  if (begun) yield split(open.join('') + held + decode());
}

/** A text file in UTF-8, with or without a byte order mark. */
export async function readText(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new FileError(`${path} cannot be read (${(error as Error).message}).`);
  }
  return decodeText(bytes, path);
}

/** The lines of a text that ends them with LF, CRLF or CR. */
export const linesOf = (text: string): string[] => text.split(/\r\n|\n|\r/);

/** The same, each with its line end. */
export function linesWithEnds(text: string): string[] {
  const parts = text.split(/(\r\n|\n|\r)/);
  return parts.flatMap((part, i) => (i % 2 ? [] : [part + (parts[i + 1] ?? '')]));
}

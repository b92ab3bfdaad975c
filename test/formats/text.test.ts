import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readJson } from '../../src/formats/json';
import { linesOf, readText } from '../../src/formats/text';
import { scratch } from '../tiny';

const file = (bytes: string | Uint8Array, name = 'file.txt') => {
  const path = join(scratch('text'), name);
  writeFileSync(path, bytes);
  return path;
};
const utf16 = (text: string, big = false) => {
  const bytes = Buffer.from(text, 'utf16le');
  return big ? bytes.swap16() : bytes;
};

it('a byte order mark is not part of the text; a second one and one within are', async () => {
  expect(await readText(file('\ufeffa'))).toBe('a');
  expect(await readText(file('\ufeff\ufeffa\ufeff'))).toBe('\ufeffa\ufeff');
  expect(await readText(file('\ufeff'))).toBe('');
  expect(await readText(file(''))).toBe('');
  expect(await readText(file('a\u0000b🙂'))).toBe('a\u0000b🙂');
  expect(await readJson(file('\ufeff{"a": 1}\r\n'))).toEqual({ a: 1 });
});

it.each([
  ['UTF-16', utf16('\ufeff{"a": 1}')],
  ['UTF-16', utf16('\ufeff{"a": 1}', true)],
  ['UTF-16', utf16('{"a": 1}')],
  ['UTF-16', utf16('{"a": 1}', true)],
  ['UTF-16', utf16('\ufeffあ')],
  ['UTF-32', Uint8Array.of(0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0)],
  ['UTF-32', Uint8Array.of(0, 0, 0xfe, 0xff, 0, 0, 0, 0x7b)],
])('%s is refused with the way to convert it', async (name, bytes) => {
  const path = file(bytes);
  await expect(readText(path)).rejects.toThrow(`${path} is ${name}, but UTF-8 is expected. Save it as UTF-8: \`iconv -f ${name} -t UTF-8`);
  await expect(readJson(path)).rejects.toThrow(`is ${name}`);
});

it('bytes of an older encoding are refused with their line, never replaced', async () => {
  await expect(readText(file(Buffer.from('one\ntwo\nna\xefve\n', 'latin1')))).rejects.toThrow(/is not UTF-8 text \(line 3 .*WINDOWS-1252/);
  await expect(readText(file(Uint8Array.of(0x61, 0xe2, 0x89)))).rejects.toThrow(/line 1/);
});

it('a file that is not there, and one that is a folder, are named', async () => {
  await expect(readText('/no/such/file')).rejects.toThrow(/^\/no\/such\/file cannot be read/);
  await expect(readText(scratch())).rejects.toThrow(/cannot be read/);
});

it('lines end with LF, CRLF or CR', () => {
  expect(linesOf('a\nb\r\nc\rd\n\r\n\re')).toEqual(['a', 'b', 'c', 'd', '', '', 'e']);
  expect(linesOf('a\u2028b\u0085c')).toEqual(['a\u2028b\u0085c']);
});

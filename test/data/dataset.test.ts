import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Dataset } from '../../src/data/dataset';
import { load_dataset } from '../../src/data/load_dataset';
import { scratch } from '../tiny';

const path = (content: string | Uint8Array, name = 'rows.jsonl') => {
  const file = join(scratch('dataset'), name);
  writeFileSync(file, content);
  return file;
};
const rows = async (content: string | Uint8Array, name?: string) => [...(await load_dataset(path(content, name), { split: 'train' }))];
const two = [{ text: 'a' }, { text: 'b\u2028c' }];
const [a, b] = two.map((row) => JSON.stringify(row));

it.each([
  ['LF', `${a}\n${b}\n`],
  ['CRLF', `${a}\r\n${b}\r\n`],
  ['CR', `${a}\r${b}\r`],
  ['no line end behind the last', `${a}\n${b}`],
  ['blank lines', `\n\n${a}\n  \n\t\n${b}\n\n`],
  ['a byte order mark', `\ufeff${a}\n${b}`],
  ['a byte order mark and CRLF', `\ufeff${a}\r\n\r\n${b}\r\n`],
  ['two files joined, each with a mark', `\ufeff${a}\n\ufeff${b}\n`],
  ['spaces around rows', `  ${a}  \n\t${b}`],
])('JSON Lines with %s', async (_, content) => {
  expect(await rows(content)).toEqual(two);
});

it.each([
  ['plain', `[${a},${b}]`],
  ['with a byte order mark and CRLF', `\ufeff[\r\n${a},\r\n${b}\r\n]\r\n`],
])('a list of rows, %s', async (_, content) => {
  expect(await rows(content, 'rows.json')).toEqual(two);
});

it('rows and columns by index, as in Python; what is not there is an error in words', async () => {
  const set = Dataset.from_list([
    { question: 'a', n: 1 },
    { question: 'b', n: 2 },
    { question: 'c', n: 3 },
  ]);
  const columns = set as unknown as Record<string, unknown[]>;
  expect([set[0], set.at(-1), set[2].n, set[-1], columns.question, columns.n]).toEqual([
    { question: 'a', n: 1 },
    { question: 'c', n: 3 },
    3,
    { question: 'c', n: 3 },
    ['a', 'b', 'c'],
    [1, 2, 3],
  ]);
  for (const derived of [
    set.select([1, 2]),
    set.filter(({ n }) => n > 1),
    set.map((row) => row).select([1]),
    set.train_test_split({ test_size: 1 }).train,
  ])
    expect(derived[0].n).toBeGreaterThan(0);
  expect(await set).toBe(set);
  expect(set).toBeInstanceOf(Dataset);
  expect(JSON.parse(JSON.stringify(set)).rows).toHaveLength(3);
  for (const [wrong, message] of [
    [() => set[3], /has 3 rows; there is no row 3\. They are numbered from 0 to 2/],
    [() => set[-4], /there is no row -4/],
    [() => set[0.5], /there is no row 0\.5/],
    [() => set.at(Number.NaN), /there is no row NaN/],
    [() => (set as any).qestion, /no column 'qestion'; it has 'question', 'n'\. Did you mean 'question'/],
    [() => Dataset.from_list([])[0], /has 0 rows; there is no row 0\.$/],
  ] as const)
    expect(wrong).toThrow(message);
  // Rows need not all have a column, and a column may be called like a method.
  const odd = Dataset.from_list<Record<string, unknown>>([{ map: 1 }, { rest: 2 }]);
  expect((odd as any).rest).toEqual([null, 2]);
  expect(typeof odd.map).toBe('function');
});

it.each([
  [() => Dataset.from_dict({ a: [1, 2], b: ['x'] }), /Dataset\.from_dict takes columns.*different lengths: a 2, b 1\.$/],
  [() => Dataset.from_dict(null as never), /Dataset\.from_dict takes columns, .*, but got null\./],
  [() => Dataset.from_dict([{ a: 1 }] as never), /Of rows: Dataset\.from_list/],
  [() => Dataset.from_dict({ a: 'text' } as never), /but 'a' is 'text'\./],
  [() => Dataset.from_list(null as never), /Dataset\.from_list takes rows, .*, but got null\./],
  [() => Dataset.from_list([{ a: 1 }, 'b'] as never), /but row 1 is 'b'\./],
  [() => Dataset.from_generator(() => [[1]]), /Dataset\.from_generator takes rows, .*, but row 0 is \[1\]\./],
] as [() => unknown, RegExp][])('what is no rows is said by the name of the function that was called: %s', (make, message) => {
  expect(make).toThrow(message);
  expect(make).not.toThrow(/map:/);
});

it('columns become rows, those of numbers too', () => {
  expect(Dataset.from_dict({ a: [1, 2], b: Int32Array.of(3, 4) as never }).to_list()).toEqual([
    { a: 1, b: 3 },
    { a: 2, b: 4 },
  ]);
  expect(Dataset.from_dict({}).length).toBe(0);
});

it('a folder of splits with byte order marks', async () => {
  const folder = scratch('dataset');
  mkdirSync(folder, { recursive: true });
  for (const split of ['train', 'test']) writeFileSync(join(folder, `${split}.jsonl`), `\ufeff${a}\r\n`);
  const splits = await load_dataset(folder);
  expect(Object.entries(splits).map(([name, set]) => [name, [...set]])).toEqual([
    ['test', [two[0]]],
    ['train', [two[0]]],
  ]);
});

it.each([
  ['UTF-16', Buffer.from(`\ufeff${a}\n`, 'utf16le'), /is UTF-16, but UTF-8 is expected/],
  ['an older encoding', Buffer.from(`${a}\n{"text": "na\xefve"}`, 'latin1'), /line 2 holds bytes that are no character/],
  ['NUL bytes of a write that broke off', `${a}\n${'\0'.repeat(40)}`, /line 2 holds NUL bytes/],
  ['a row cut off', `${a}\r\n{"text": `, /line 2 is not JSON/],
  ['a row that is a number', `${a}\r5`, /line 2 is 5, but each line must be one object/],
  ['a row that is a list', `[1]\n`, /line 1 is \[1\]/],
  ['a row that is null', `${a}\n\nnull`, /line 3 is null/],
])('refuses %s with its line', async (_, content, message) => {
  await expect(rows(content)).rejects.toThrow(message);
});

it('refuses a .json file that is no list of rows', async () => {
  await expect(rows('{"a": 1}', 'rows.json')).rejects.toThrow(/does not hold a list of rows/);
  await expect(rows(`[${a}, 3]`, 'rows.json')).rejects.toThrow(/row 1 is 3, but each row must be an object/);
  expect(await rows(`${a}\n${b}`, 'rows.json'), 'many call JSON Lines so').toEqual(two);
  await expect(rows(`[${a}`, 'rows.json')).rejects.toThrow(/is not JSON.*JSON Lines in a \.jsonl file/);
});

it('loads JSON as Hugging Face’s datasets do: load_dataset("json", { data_files })', async () => {
  const [one, other] = [path(`${a}\n`, 'one.jsonl'), path(`[${b}]`, 'other.json')];
  const lengths = (splits: object) => Object.fromEntries(Object.entries(splits).map(([name, { length }]) => [name, length]));
  expect(lengths(await load_dataset('json', { data_files: one }))).toEqual({ train: 1 });
  expect(lengths(await load_dataset('json', { data_files: [one, other] }))).toEqual({ train: 2 });
  expect(lengths(await load_dataset('json', { data_files: { train: one, test: [other, one] } }))).toEqual({ train: 1, test: 2 });
  expect([...(await load_dataset('json', { data_files: one, split: 'train' }))]).toEqual([two[0]]);
  await expect(load_dataset('json')).rejects.toThrow(/needs data_files: load_dataset\('json', \{ data_files: 'rows\.jsonl' \}\)/);
  await expect(load_dataset('json', { data_files: 'nowhere.jsonl' })).rejects.toThrow(/names 'nowhere\.jsonl', but there is no \//);
  await expect(load_dataset('json', { files: one } as never)).rejects.toThrow(/Did you mean data_files\?/);
  await expect(load_dataset('arrow', { data_files: one })).rejects.toThrow(/reads json, csv, parquet, text, not arrow/);
});

it.each([
  ['commas', 'question,answer\n"What, then?",It\n'],
  ['semicolons', 'question;answer\nWhat?;It\n'],
  ['tabs and CRLF', 'question\tanswer\r\nWhat?\tIt\r\n'],
])('knows a CSV file, with %s, by what is in it', async (_, text) => {
  expect(Object.keys((await rows(text, 'rows.csv'))[0])).toEqual(['question', 'answer']);
  for (const name of ['rows.json', 'rows.jsonl'])
    await expect(rows(text, name)).rejects.toThrow(
      /is CSV and not JSON: its first line names the columns 'question', 'answer'\. Read it as such: load_dataset\('csv', \{ data_files: '.*rows\.\w+' \}\)/,
    );
});

import { execFileSync } from 'node:child_process';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { interleave_datasets } from '../../src/data/combine';
import { Dataset } from '../../src/data/dataset';
import { IterableDataset } from '../../src/data/iterable_dataset';
import { load_dataset } from '../../src/data/load_dataset';
import { lineBlocks, linesOf, linesWithEnds } from '../../src/formats/text';
import { scratch } from '../tiny';

const folder = scratch('stream');
const file = (name: string, content: string | Uint8Array) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const all = async <R extends object>(rows: AsyncIterable<R>): Promise<R[]> => {
  const list: R[] = [];
  for await (const row of rows) list.push(row);
  return list;
};
const streamed = async (path: string, more = {}) => all(await load_dataset(path, { split: 'train', streaming: true, ...more }));

it('lines are the same however a file comes in pieces', async () => {
  const random = Random.seeded(9);
  const marks = ['\n', '\r\n', '\r', 'ä', '🙂', 'x', '', '\u2028', 'words '];
  for (let round = 0; round < 200; round++) {
    const text = Array.from({ length: random.below(40) }, () => marks[random.below(marks.length)]).join('');
    const bytes = new TextEncoder().encode(text);
    const pieces = async function* () {
      for (let from = 0; from < bytes.length; ) {
        const to = Math.min(bytes.length, from + 1 + random.below(5));
        yield bytes.subarray(from, to);
        from = to;
      }
    };
    for (const split of [linesOf, linesWithEnds]) {
      const lines: string[] = [];
      for await (const block of lineBlocks(pieces(), 'a file', split)) lines.push(...block);
      expect(lines).toEqual(bytes.length ? split(text) : []);
    }
    expect(linesWithEnds(text).join('')).toBe(text);
  }
});

const long = Array.from({ length: 3000 }, (_, i) => `${i},"say ""${i}""\nand, more",${i % 2 ? 'true' : 'False'},${i % 7 ? i / 2 : ''}`);
const FILES: [name: string, content: string | Uint8Array][] = [
  ['rows.jsonl', '\ufeff{"a": 1}\r\n\r\n{"a": "b\u2028"}'],
  ['rows.json', '{"a": 1}\n{"a": 2}\n'],
  ['list.json', '[{"a": 1},\n {"a": 2}]'],
  ['rows.csv', `n,text,flag,share\n${long.join('\n')}\n`],
  ['ends.csv', 'n,text,more\r\n1,"a\r\nb\nc\rd"\r\n2,"""x"",\r\n""",y\r3,5" nail\n"4""","\n",z\n'],
  // Every line has a quote in it, and none ends the field.
  ['lines.csv', `n,text\n1,"${Array.from({ length: 8000 }, (_, i) => `line ""${i}"" of it, and more`).join('\r\n')}"\n2,x\n`],
  ['marks.csv', '\ufeffn;text\r\n1;"a;b"\r\n\r\n2;5" nail\r\n'],
  ['rows.tsv', 'a\tb\n1\tx\n'],
  ['rows.txt', 'one\n\ntwo\r\nthree\n'],
  ['open.txt', 'one\ntwo'],
  ['empty.jsonl', ''],
  ['blank.json', '\ufeff\r\n  {"a": 1}  \r\n{"a": 2}'],
  ['pretty.json', '\n[\n  {\n    "a": 1\n  }\n]\n'],
  ['list.json.gz', gzipSync('[{"a": 1}, {"a": 2}]')],
  ['rows.jsonl.gz', gzipSync('{"a": 1}\n{"a": 2}\n')],
];
it.each(FILES)('%s as a stream has the rows that it has in memory', async (name, content) => {
  const path = file(name, content);
  expect(await streamed(path)).toEqual((await load_dataset(path, { split: 'train' })).to_list());
});

it('a line in many pieces takes no longer than its length says', async () => {
  const [pieces, piece] = [60_000, new TextEncoder().encode('x'.repeat(1000))];
  const long = async function* () {
    for (let i = 0; i < pieces; i++) yield piece;
    yield new TextEncoder().encode('\nend');
  };
  const lines: string[] = [];
  for await (const block of lineBlocks(long(), 'a file')) lines.push(...block);
  expect(lines.map((line) => line.length)).toEqual([pieces * piece.length, 3]);
});

it.each([
  ['[', 'a list'],
  ['{"a": ', 'one object'],
])('a .json file beginning with %s that can only be read whole and is too large is refused before it is read: %s', async (begin) => {
  const path = file('huge.json', begin);
  truncateSync(path, 2 ** 33); // without blocks on the disk
  await expect(streamed(path)).rejects.toThrow(/is one JSON value of 8590 MB, which can only be read whole/);
  await expect(streamed(path, { field: 'data' })).rejects.toThrow(/is one JSON value of 8590 MB/);
  rmSync(path);
});

it.each(['[', '{"a": "'])('so is a packed one beginning with %s, whose own size says nothing', async (begin) => {
  const part = gzipSync(Buffer.alloc(1024 * 1024, 'x'));
  const path = file('huge.json.gz', Buffer.concat([gzipSync(begin), ...Array.from({ length: 257 }, () => part)]));
  await expect(streamed(path)).rejects.toThrow(/is one JSON value of more than 2\d\d MB, which can only be read whole/);
  rmSync(path);
});

it('a stream without rows has none however often they are to come', async () => {
  const none = IterableDataset.from_generator<object>(function* () {});
  expect(await all(none.repeat())).toEqual([]);
  expect(await all(none.repeat(3))).toEqual([]);
  expect(() => none.repeat(-1)).toThrow(/repeat: n must be/);
});

it('Parquet too, and several files, splits and sums of them', async () => {
  const parquet = join(__dirname, '..', 'formats', 'rows.parquet');
  const inMemory = await load_dataset(parquet, { split: 'train' });
  expect(inMemory.length).toBeGreaterThan(0);
  expect(await streamed(parquet)).toEqual(inMemory.to_list());
  // A stream that is left is ended.
  const rows = await load_dataset(parquet, { split: 'train', streaming: true });
  expect(await rows.head(1)).toEqual([inMemory[0]]);
  const [one, other] = [file('one.jsonl', '{"a": 1}'), file('other.jsonl', '{"a": 2}')];
  const splits = await load_dataset('json', { data_files: { train: [one, other], test: other }, streaming: true });
  expect(await all(splits.train)).toEqual([{ a: 1 }, { a: 2 }]);
  const both = await load_dataset('json', { data_files: { train: one, test: other }, split: 'test + train', streaming: true });
  expect(await all(both)).toEqual([{ a: 2 }, { a: 1 }]);
});

const WRONG: [what: string, path: () => string, message: RegExp, more?: object][] = [
  ['a row cut off', () => file('cut.jsonl', '{"a": 1}\n{"a":'), /line 2 is not JSON/],
  ['CSV by the name of JSON', () => file('csv.jsonl', 'a,b\n1,2\n'), /is CSV and not JSON|is not JSON/],
  ['another encoding', () => file('utf16.jsonl', Buffer.from('\ufeff{}', 'utf16le')), /is UTF-16/],
  ['bytes that are no character', () => file('latin.jsonl', Buffer.from('{"a": 1}\n{"a": "\xef"}', 'latin1')), /line 2 holds bytes/],
  [
    'a quote that stays open behind one that does not',
    () => file('two.csv', 'a,b\n"1\n2",x\n3,"y\n4,z\n'),
    /line 4: a quoted field is not/,
  ],
  ['a quote that stays open', () => file('open.csv', 'a\n1\n"two\n3\n'), /line 3: a quoted field is not closed/],
  ['too many fields', () => file('many.csv', 'a\n1,2\n'), /line 2 has 2 fields/],
  [
    'a text where 1,000 rows had numbers',
    () => file('late.csv', `a\n${'1\n'.repeat(1500)}x\n`),
    /line 1502: "x" in the column "a", whose first 1000 rows hold numbers/,
  ],
  ['no gzip', () => file('no.jsonl.gz', 'plain'), /cannot be unpacked/],
  ['no Parquet', () => file('no.parquet', 'PAR1 and nothing else'), /is no Parquet file that can be read/],
  ['a part of it', () => file('part.jsonl', '{}'), /takes a part of a stream.*take\(1000\)/, { split: 'train[:10%]' }],
];
it.each(WRONG)('refuses %s', async (_, path, message, more) => {
  await expect(streamed(path(), more)).rejects.toThrow(message);
});

it('methods do their work when rows are asked for', async () => {
  let asked = 0;
  const numbers = IterableDataset.from_generator(function* () {
    for (let n = 0; n < 1000; n++) {
      asked++;
      yield { n, text: `row ${n}` };
    }
  });
  const few = numbers
    .filter(({ n }) => n % 2 === 0)
    .map(async ({ n }) => ({ half: n / 2 }), { remove_columns: 'text' })
    .skip(1)
    .take(3);
  expect(asked).toBe(0);
  expect(await all(few)).toEqual([1, 2, 3].map((half) => ({ n: 2 * half, half })));
  expect(asked).toBe(7);
  const doubled = numbers.map(({ n }) => ({ n: n.flatMap((x) => [x, x]) }), {
    batched: true,
    batch_size: 2,
    remove_columns: ['n', 'text'],
  });
  expect(await doubled.head(5)).toEqual([0, 0, 1, 1, 2].map((n) => ({ n })));
  expect(await numbers.rename_column('n', 'k').select_columns('k').head(2)).toEqual([{ k: 0 }, { k: 1 }]);
  expect(await all(numbers.batch({ batch_size: 400, drop_last_batch: true }))).toHaveLength(2);
  expect((await all(numbers.take(2).repeat(2))).map(({ n }) => n)).toEqual([0, 1, 0, 1]);

  const shuffled = numbers.shuffle({ seed: 3, buffer_size: 50 });
  const order = (await all(shuffled)).map(({ n }) => n);
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, n) => n));
  expect(order).not.toEqual([...order].sort((a, b) => a - b));
  expect((await all(shuffled)).map(({ n }) => n)).toEqual(order);
  shuffled.set_epoch(1);
  expect((await all(shuffled)).map(({ n }) => n)).not.toEqual(order);
});

it('mixtures keep their weights, in memory and as streams, and streams need not end', async () => {
  const endless = (name: string) =>
    IterableDataset.from_generator(function* () {
      for (let n = 0; ; n++) yield { name, n };
    });
  const mixture = interleave_datasets([endless('a'), endless('b')], { probabilities: [3, 1], seed: 5 });
  const drawn = await mixture.head(4000);
  expect(Math.abs(drawn.filter(({ name }) => name === 'a').length / 4000 - 0.75)).toBeLessThan(0.03);
  expect(drawn.filter(({ name }) => name === 'b').map(({ n }) => n)).toEqual(
    Array.from({ length: 1e4 }, (_, n) => n).slice(0, drawn.filter(({ name }) => name === 'b').length),
  );
  const sets = ['a', 'b'].map((name) => Dataset.from_list(Array.from({ length: 300 }, (_, n) => ({ name, n }))));
  const inMemory = interleave_datasets(sets, { probabilities: [0.75, 0.25], seed: 5 }).to_list();
  expect(inMemory.filter(({ name }) => name === 'a')).toHaveLength(300);
  expect(drawn.slice(0, inMemory.length)).toEqual(inMemory);
  expect(() => interleave_datasets(sets, { probabilities: [1] })).toThrow(/a number for each of 2 data sets/);
  expect(() => interleave_datasets([sets[0], endless('b')] as never)).toThrow(/1 of 2 data sets are streams.*to_iterable_dataset/);
  expect(() => interleave_datasets([{ train: sets[0] }] as never)).toThrow(/of splits by name take one/);
});

it('files larger than memory take no more of it', () => {
  const line = `${JSON.stringify({ text: 'words '.repeat(300), n: 1 })}\n`;
  const path = file('large.jsonl', line.repeat(20_000)); // 36 MB, read ten times
  const code = `
    const { load_dataset } = require(${JSON.stringify(join(__dirname, '..', '..', 'lib', 'data', 'load_dataset.js'))});
    (async () => {
      const rows = await load_dataset('json', { data_files: Array(10).fill(${JSON.stringify(path)}), split: 'train', streaming: true });
      let [count, characters] = [0, 0];
      for await (const { text } of rows.filter(({ n }) => n === 1).shuffle({ buffer_size: 100 })) { count++; characters += text.length; }
      console.log(JSON.stringify({ count, characters, peak: process.resourceUsage().maxRSS / 1024 }));
    })();`;
  const { count, characters, peak } = JSON.parse(execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' }));
  rmSync(path);
  expect([count, characters]).toEqual([200_000, 360_000_000]);
  expect(peak).toBeLessThan(300);
}, 60_000);

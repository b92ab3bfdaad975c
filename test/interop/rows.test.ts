import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { load_dataset } from '../../src/index';
import { peer } from '../peer';
import { scratch } from '../tiny';

const put = (folder: string, files: Record<string, string | Uint8Array>) => {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
};
const lines = (...rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const CSV = `text,n,x,flag,odd,empty
plain,1,0.5,True,007,
"quoted, with a comma",2,-1e3,False,a,
"two
lines",3,,True,NA,
"say ""yes""",4,.25,False,1,
ünï 漢🙂,5,2,True,null,
`;
const README = `---
configs:
- config_name: chat
  data_files:
  - split: train
    path: chat/train-*
  - split: test
    path: [chat/test.jsonl]
- config_name: plain
  default: true
  data_files: "other/*.jsonl"
---
# A data set
`;

it("files and folders give the rows that Python's datasets gives", async () => {
  const folder = scratch('rows');
  const at = (name: string) => join(folder, name);
  put(folder, {
    'a.csv': CSV,
    'crlf.csv': CSV.replaceAll('\n', '\r\n'),
    'b.tsv': 'a\tb\n1\tx, y\n2\t"z"\n',
    'text.txt': 'one\n\ntwo ü\nthree',
    'rows.jsonl.gz': gzipSync(lines({ a: 1 }, { a: 2 })),
    'wrapped.json': JSON.stringify({ version: 1, data: [{ a: 1 }, { a: 2 }] }),
    'splits/train.jsonl': lines({ a: 1 }, { a: 2 }, { a: 3 }, { a: 4 }),
    'splits/dev.jsonl': lines({ a: 5 }),
    'splits/my-test-set.jsonl': lines({ a: 6 }, { a: 7 }),
    'parts/data/train-00000-of-00002.jsonl': lines({ a: 1 }),
    'parts/data/train-00001-of-00002.jsonl': lines({ a: 2 }),
    'parts/data/validation-00000-of-00001.jsonl': lines({ a: 3 }),
    'folders/train/x.jsonl': lines({ a: 1 }),
    'folders/test/y.jsonl': lines({ a: 2 }),
    'none/x.jsonl': lines({ a: 1 }),
    'none/y.jsonl': lines({ a: 2 }),
    'configs/README.md': README,
    'configs/chat/train-0.jsonl': lines({ q: 'a' }),
    'configs/chat/train-1.jsonl': lines({ q: 'b' }),
    'configs/chat/test.jsonl': lines({ q: 'c' }),
    'configs/other/one.jsonl': lines({ a: 1 }),
    'configs/other/two.jsonl': lines({ a: 2 }),
  });
  const loads: { path: string; options: Record<string, unknown>; theirs?: Record<string, unknown> }[] = [
    { path: 'csv', options: { data_files: at('a.csv') } },
    { path: 'csv', options: { data_files: at('crlf.csv') } },
    { path: 'csv', options: { data_files: at('b.tsv') }, theirs: { sep: '\t' } },
    { path: 'text', options: { data_files: { train: at('text.txt') } } },
    { path: 'json', options: { data_files: [at('rows.jsonl.gz'), at('none/x.jsonl')] } },
    { path: 'json', options: { data_files: at('wrapped.json'), field: 'data' } },
    { path: 'json', options: { data_files: { train: at('parts/data/train-*'), test: at('splits/my-test-set.jsonl') } } },
    { path: 'json', options: { data_files: at('parts/**/*.jsonl') } },
    ...['splits', 'parts', 'folders', 'none', 'configs'].map((name) => ({ path: at(name), options: {} })),
    { path: at('configs'), options: { name: 'chat' } },
    { path: at('splits'), options: { data_files: { train: '*.jsonl' } } },
    { path: at('configs'), options: { data_dir: 'chat' } },
    ...['train[:2]', 'train[1:-1]', 'train[50%:]', 'train[-25%:]', 'train[:1]+test'].map((split) => ({
      path: at('splits'),
      options: { split },
    })),
  ];
  const theirs = peer<{ table: Record<string, unknown>[]; loads: Record<string, unknown[]>[] }>(
    'rows',
    { folder, loads: loads.map(({ path, options, theirs: more }) => ({ path, options: { ...options, ...more } })) },
    'peer_formats.py',
  );
  for (const [i, { path, options }] of loads.entries()) {
    const got = await load_dataset(path, options as { split: string });
    const splits = options.split ? { [options.split as string]: got } : got;
    const found = Object.fromEntries(Object.entries(splits).map(([split, rows]) => [split, [...rows]]));
    expect(found, `${path} ${JSON.stringify(options)}`).toEqual(theirs.loads[i]);
  }
  for (const codec of ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'])
    expect([...(await load_dataset(at(`${codec}.parquet`), { split: 'train' }))], codec).toEqual(theirs.table);
});

it('what is wrong is said', async () => {
  const folder = scratch('rows');
  const at = (name: string) => join(folder, name);
  put(folder, {
    'open.csv': 'a,b\n1,"x\n2,3\n',
    'wide.csv': 'a,b\n1,2\n1,2,3\n',
    'wrapped.json': '{"data": [{"a": 1}]}',
    'a.jsonl.gz': 'not packed',
    'a.parquet': 'PAR1 and no more',
    'b.parquet': 'nothing',
    'configs/README.md': README.replace('  default: true\n', ''),
    'configs/a.jsonl': lines({ a: 1 }),
    'out/README.md': '---\nconfigs:\n- config_name: x\n  data_files: ../../secret/*.jsonl\n---\n',
    'bad/README.md': '---\nconfigs: [a: b: c\n---\n',
    'empty/a.bin': '',
  });
  for (const [path, options, message] of [
    [at('open.csv'), {}, /open\.csv, line 2: a quoted field is not closed/],
    [at('wide.csv'), {}, /line 3 has 3 fields, but the first line names 2 columns/],
    [at('wrapped.json'), {}, /does not hold a list of rows.*\{ field: 'data' \}/],
    [at('wrapped.json'), { field: 'rows' }, /no list of rows under 'rows'/],
    [at('a.jsonl.gz'), {}, /cannot be unpacked/],
    [at('a.parquet'), {}, /is no Parquet file that can be read: .*Get it again|get it again/],
    [at('b.parquet'), {}, /not a Parquet file: it begins with "noth"/],
    [at('configs'), {}, /several configurations.*name: 'chat'/],
    [at('configs'), { name: 'chatt' }, /no configuration 'chatt'; it has 'chat', 'plain'\. Did you mean 'chat'/],
    [at('configs'), { name: 'plain' }, /has no file 'other\/\*\.jsonl'; its files are/],
    [at('out'), {}, /outside of the data set/],
    [at('bad'), {}, /its head is not YAML/],
    [at('empty'), {}, /holds no file of rows/],
    ['csv', {}, /load_dataset\('csv'\) needs data_files/],
    ['csv', { data_files: at('*.nothing') }, /no file fits/],
    ['csv', { data_file: 'x' }, /data_file/],
  ] as const)
    await expect(load_dataset(path, options as object), `${path} ${JSON.stringify(options)}`).rejects.toThrow(message);
});

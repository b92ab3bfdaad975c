// 10 GB of rows in 300 MB of memory.
import { execFileSync } from 'node:child_process';
import { createWriteStream, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { expect, it } from 'vitest';
import { scratch } from '../tiny';

const GIB = 2 ** 30;

it('10 GiB of JSON Lines are gone through, filtered, mixed and shuffled in 300 MB', async () => {
  const path = join(scratch('large'), 'rows.jsonl');
  const block = Array.from(
    { length: 500 },
    (_, n) => `${JSON.stringify({ n, text: `Row ${n}. ${'Some words of it. '.repeat(110)}` })}\n`,
  ).join('');
  const blocks = Math.ceil(GIB / block.length);
  await pipeline(
    Readable.from(
      (function* () {
        for (let i = 0; i < blocks; i++) yield block;
      })(),
    ),
    createWriteStream(path),
  );
  // The same gibibyte ten times over: what is read is read anew.
  const code = `
    const { load_dataset } = require(${JSON.stringify(join(__dirname, '../../lib/data/load_dataset.js'))});
    const { interleave_datasets } = require(${JSON.stringify(join(__dirname, '../../lib/data/combine.js'))});
    (async () => {
      const half = () => load_dataset('json', { data_files: Array(5).fill(${JSON.stringify(path)}), split: 'train', streaming: true });
      const rows = interleave_datasets([await half(), await half()], { probabilities: [0.5, 0.5], stopping_strategy: 'all_exhausted_without_replacement' });
      let [count, characters] = [0, 0];
      for await (const { text } of rows.filter(({ n }) => n >= 0).shuffle({ buffer_size: 1000 })) { count++; characters += text.length; }
      console.log(JSON.stringify({ count, gigabytes: characters / 1e9, megabytes: process.resourceUsage().maxRSS / 1024 }));
    })();`;
  const start = Date.now();
  const { count, gigabytes, megabytes } = JSON.parse(execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' }));
  console.log(`${gigabytes.toFixed(1)} GB in ${((Date.now() - start) / 1000).toFixed(0)} s, ${megabytes.toFixed(0)} MB at the most`);
  rmSync(path);
  expect(count).toBe(blocks * 500 * 10);
  expect(megabytes).toBeLessThan(300);
}, 1_200_000);

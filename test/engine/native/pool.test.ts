import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findCompiler } from '../../../scripts/native.cjs';

it('brings an error of any thread of the pool to the caller, and goes on', () => {
  const program = join(mkdtempSync(join(tmpdir(), 'tunebook-pool-')), 'pool');
  const sources = [join(__dirname, 'pool.cc'), join(__dirname, '../../../src/engine/native/pool.cc')];
  execFileSync(findCompiler(), ['-O1', '-std=gnu++17', '-pthread', ...sources, '-o', program]);
  const output = execFileSync(program, { encoding: 'utf8', env: { ...process.env, TUNEBOOK_THREADS: '2' } });
  expect(output.trim().split('\n')).toEqual(['threads 2', 'of another thread 200', 'of the caller 200', 'tasks 1000']);
});

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const root = resolve(__dirname, '../..');

it('npm start -- --headless fine-tunes SmolLM2 and prints a perplexity at least 25 % lower', () => {
  const result = spawnSync('npm', ['start', '--', '--headless'], { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 });
  expect(result.status, result.stdout.slice(-2000) + result.stderr.slice(-2000)).toBe(0);
  const [, before, after] = result.stdout.match(/^perplexity\s+([\d.]+)\s+([\d.]+)/m)!.map(Number);
  expect(after).toBeLessThan(0.75 * before);
  const executed = JSON.parse(readFileSync(join(root, 'notebooks/out/01-first-fine-tune.executed.ipynb'), 'utf8'));
  const outputs = executed.cells.flatMap((cell: { outputs?: { output_type: string; data?: Record<string, any> }[] }) => cell.outputs ?? []);
  expect(outputs.filter((o: { output_type: string }) => o.output_type === 'error')).toEqual([]);
  const run = outputs
    .map((o: { data?: Record<string, any> }) => o.data)
    .find((d?: Record<string, any>) => d?.['application/vnd.tunebook.run.v1+json']);
  expect(run['application/vnd.tunebook.run.v1+json']).toMatchObject({ status: 'finished', step: 80, totalSteps: 80 });
  expect(run['image/png'].length).toBeGreaterThan(1000);
  // a notebook file keeps texts as lists of lines
  expect([run['text/html']].flat().join('')).toMatch(/<img .*data:image\/png;base64.*<table>/s);
});

it('the same notebook runs from top to bottom in the stock tslab kernel', () => {
  const result = spawnSync('npm', ['start', '--', '--headless', '--with-tslab'], { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 });
  expect(result.status, result.stdout.slice(-2000) + result.stderr.slice(-2000)).toBe(0);
  const executed = JSON.parse(readFileSync(join(root, 'notebooks/out/01-first-fine-tune.tslab.ipynb'), 'utf8'));
  const outputs = executed.cells.flatMap((cell: { outputs?: { text?: string[] | string }[] }) => cell.outputs ?? []);
  // tslab has no error messages: a cell that throws says so in its output.
  const text = outputs.map((o: { text?: string[] | string }) => [o.text ?? ''].flat().join('')).join('\n');
  expect(text).not.toMatch(/Error:/);
  expect(text).toContain('The reloaded adapter gives the same answer');
});

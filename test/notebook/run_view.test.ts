import { expect, it } from 'vitest';
import { runBundle, runPng } from '../../src/notebook/run_view';
import { parseRun, RUN_MIME } from '../../views/src';
import { longRun } from '../views/runs';

/** The bundle as it stands in a notebook's file, which nbformat indents by one space a level. */
const inFile = (data: unknown) => JSON.stringify({ cells: [{ outputs: [{ data }] }] }, null, 1).length;

it('a run of 50,000 steps takes at most 300 KB of the notebook file, pictures included', () => {
  const run = { ...longRun(50_000), status: 'finished' as const };
  const bundle = runBundle(run, runPng(run));
  expect(inFile(bundle)).toBeLessThan(300_000);
  expect(parseRun(JSON.parse(JSON.stringify(bundle[RUN_MIME])))).toMatchObject({ step: 50_000 });
});

it('readers without the extension get a table with the picture, and no script', () => {
  const run = { ...longRun(50), name: 'a <run>' };
  const html = runBundle(run, runPng(run))['text/html'] as string;
  expect(html).not.toContain('<run>');
  expect(html).not.toContain('<script');
  expect(html).toMatch(/^<img alt="Loss of the run a &lt;run&gt;" width="720" src="data:image\/png;base64,[A-Za-z0-9+/=]+"><table>/);
});

it('the picture shows lines in the colours of its key', () => {
  const png = runPng(longRun(500));
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  expect(png.length).toBeGreaterThan(5000);
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { parseRun, RUN_MIME, type RunData } from '../../views/src';
import { executablePath, kernelIs, LOAD, press, runCells, save, shots, textIs, trainCell, useLab } from './lab';

const lab = useLab();
const browserIt = it.skipIf(!executablePath);

interface Output {
  output_type: string;
  name?: string;
  text?: string | string[];
  data?: Record<string, unknown>;
}
interface Cell {
  execution_count: number | null;
  outputs: Output[];
}
const cellsOf = (name: string): Cell[] => JSON.parse(readFileSync(join(lab.folder, name), 'utf8')).cells;
const runOf = ({ outputs }: Cell) => parseRun(outputs.find((o) => o.data?.[RUN_MIME])?.data?.[RUN_MIME]) as RunData;
const textOf = ({ outputs }: Cell) => outputs.map(({ text }) => (Array.isArray(text) ? text.join('') : (text ?? ''))).join('');
const inCell = (place: number, what: string) => `.jp-Notebook .jp-Cell:nth-child(${place + 1} of .jp-Cell) ${what}`;
const HEADING = '.tunebook-run .tunebook-heading';
const later = (code: string) => code.replace('const trainer', 'const later').replace('trainer.train', 'later.train');
const reload = (page: Page) => {
  page.once('dialog', (dialog) => dialog.accept());
  return page.reload();
};

browserIt('what happens while a page is away is brought into the cells and the file, and goes on there', async () => {
  lab.write('away.ipynb', [
    LOAD,
    `console.log('before');\n${trainCell('away', 60)}`,
    "for (let i = 0; i < 5; i++) console.log('line', i);\n({ value: 7 })",
    later(trainCell('later', 100_000)),
    "console.log('dropped')",
  ]);
  const file = join(lab.folder, 'away.ipynb');
  const { page, errors } = await lab.open('away.ipynb');
  await runCells(page, 5);
  await textIs(page, inCell(1, HEADING), /away: training, step \d+ of/);
  await save(page, file);
  expect(runOf(cellsOf('away.ipynb')[1]).status).toBe('running');
  await reload(page);
  await textIs(page, inCell(1, HEADING), /away: finished, step 60 of 60/);
  await textIs(page, inCell(2, '.jp-OutputArea'), /line 4[\s\S]*value: 7/);
  // The run that the page never saw begin is in its own cell, with its buttons; what waits says so.
  await textIs(page, inCell(3, HEADING), /later: training, step \d+ of/);
  const prompts = async () => (await page.locator('.jp-Notebook .jp-InputPrompt').allTextContents()).slice(0, 5);
  expect(await prompts()).toEqual(['[1]:', '[2]:', '[3]:', '[*]:', '[*]:']);
  const view = page.locator(inCell(3, '.tunebook-run'));
  await view.locator('.tunebook-button:enabled').first().waitFor();
  await view.locator('input[type="range"]').fill('0.3');
  await view.locator('.tunebook-rate input').fill('2e-3');
  await view.locator('role=button[name="Set"]').click();
  await textIs(page, inCell(3, '.tunebook-said'), /to 0.002/);
  await page.screenshot({ path: join(shots, 'away.png') });
  await reload(page); // without a save: nothing of this is in the file
  await textIs(page, inCell(3, HEADING), /later: training, step \d+ of/);
  await expect.poll(() => view.locator('.tunebook-rate input').inputValue()).toBe('0.002');
  expect(await view.locator('input[type="range"]').inputValue()).toBe('0.3');
  const step = async () => Number((await page.textContent(inCell(3, HEADING)))?.match(/step (\d+) of/)?.[1]);
  const seen = await step();
  await expect.poll(step, { timeout: 30_000 }).toBeGreaterThan(seen);
  await view.locator('role=button[name="Stop and save"]').click();
  await textIs(page, inCell(3, HEADING), /later: stopped and saved/);
  await textIs(page, inCell(3, '.jp-OutputArea'), /The cell that waited behind this one was not run/);
  await expect.poll(prompts).toEqual(['[1]:', '[2]:', '[3]:', '[4]:', '[ ]:']);
  await save(page, file);
  const saved = cellsOf('away.ipynb');
  expect(saved.map((cell) => cell.execution_count)).toEqual([1, 2, 3, 4, null, null]);
  expect([runOf(saved[1]).status, runOf(saved[3]).status]).toEqual(['finished', 'stopped']);
  for (const cell of [saved[1], saved[3]]) {
    const data = cell.outputs.find((o) => o.data?.[RUN_MIME])?.data as Record<string, unknown>;
    expect(Object.keys(data).sort()).toEqual([RUN_MIME, 'image/png', 'text/html', 'text/plain']);
  }
  expect(textOf(saved[1])).toContain('before\n');
  expect(textOf(saved[2])).toBe('line 0\nline 1\nline 2\nline 3\nline 4\n');
  expect(saved[2].outputs.at(-1)).toMatchObject({ output_type: 'execute_result', data: { 'text/plain': ['{ value: 7 }'] } });
  expect(textOf(saved[4])).toBe('');
  // What the file holds is not brought in again: outputs that are cleared and saved stay away.
  await page.evaluate(() => (window as any).jupyterapp.commands.execute('editmenu:clear-all'));
  await save(page, file);
  await reload(page);
  await kernelIs(page, 'Idle');
  await page.waitForTimeout(1000);
  expect(await page.locator('.jp-OutputArea-child').count()).toBe(0);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('Stop and save under Run All: what waits is not run, and the text says how to go on', async () => {
  lab.write('all.ipynb', [LOAD, trainCell('all', 100_000), "console.log('second')", 'await trainer.save_model()']);
  const { page, errors } = await lab.open('all.ipynb');
  await kernelIs(page, 'Idle');
  await page.evaluate(() => (window as any).jupyterapp.commands.execute('notebook:run-all-cells'));
  await textIs(page, inCell(1, HEADING), /all: training, step \d+ of/);
  await press(page, 'Stop and save', /stopped after step \d+; saved/i);
  await kernelIs(page, 'Idle');
  await textIs(page, inCell(1, '.jp-OutputArea'), /go on with trainer\.train\(\{ resume_from_checkpoint: true \}\)/);
  await textIs(page, inCell(1, '.jp-OutputArea'), /2 cells that waited behind this one were not run: to go on, select the first/);
  expect(await page.locator('.jp-Notebook .jp-InputPrompt').allTextContents()).toEqual(['[1]:', '[2]:', '[ ]:', '[ ]:']);
  await page.screenshot({ path: join(shots, 'stopped-all.png') });
  await page.click(inCell(2, '.jp-InputArea-editor'));
  await page.evaluate(() => (window as any).jupyterapp.commands.execute('notebook:run-all-below'));
  await textIs(page, inCell(2, '.jp-OutputArea'), /second/);
  await textIs(page, inCell(3, '.jp-InputPrompt'), /\[4\]/);
  expect(errors).toEqual([]);
  await page.close();
});

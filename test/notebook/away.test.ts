import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Dialog, Page } from 'playwright-core';
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
/** Begins a command; its promise may last as long as the cells that it runs. */
const command = (page: Page, id: string) => page.evaluate((name) => void (window as any).jupyterapp.commands.execute(name), id);
async function reload(page: Page): Promise<void> {
  const accept = (dialog: Dialog) => void dialog.accept(); // of what is not saved, where it asks
  page.on('dialog', accept);
  await page.reload();
  page.off('dialog', accept);
}

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

browserIt('a question that waits is asked again after a reload, on each page until one has answered it', async () => {
  const ask = [
    "const name = await input('who? ');",
    "console.log('I am', name);",
    "while (!require('node:fs').existsSync('go')) await new Promise((done) => setTimeout(done, 50));",
    "const why = await input('and why? ');",
    "name + ': ' + why",
  ].join('\n');
  lab.write('asks.ipynb', [ask, '6 * 7']);
  const { page, errors } = await lab.open('asks.ipynb');
  await runCells(page, 2);
  await textIs(page, inCell(0, '.jp-Stdin-prompt'), /who\?/);
  await reload(page);
  const { page: beside } = await lab.open('asks.ipynb');
  await textIs(beside, inCell(0, '.jp-Stdin-prompt'), /who\?/);
  for (const [question, answer] of [
    ['who? ', 'Ada'],
    ['and why? ', 'for fun'],
  ]) {
    const field = page.locator(inCell(0, '.jp-Stdin-input'));
    await textIs(page, inCell(0, '.jp-Stdin-prompt'), new RegExp(question.trim().replace('?', '\\?')));
    expect(await field.count()).toBe(1);
    await field.fill(answer);
    await field.press('Enter');
    if (answer !== 'Ada') continue;
    await beside.locator('.jp-Stdin').waitFor({ state: 'detached' });
    await textIs(beside, inCell(0, '.jp-OutputArea'), /I am Ada/);
    await beside.close();
    writeFileSync(join(lab.folder, 'go'), '');
  }
  await textIs(page, inCell(0, '.jp-OutputArea'), /I am Ada[\s\S]*Ada: for fun/);
  await textIs(page, inCell(1, '.jp-OutputArea'), /42/);
  expect(await page.locator('.jp-Stdin').count()).toBe(0);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('Stop and save under Run All: what waits is not run, and the text says how to go on', async () => {
  lab.write('all.ipynb', [LOAD, trainCell('all', 100_000), "console.log('second')", 'await trainer.save_model()']);
  const { page, errors } = await lab.open('all.ipynb');
  await kernelIs(page, 'Idle');
  await command(page, 'notebook:run-all-cells');
  await textIs(page, inCell(1, HEADING), /all: training, step \d+ of/);
  const watch = () => {
    const seen: unknown[] = [];
    const prompt = document.querySelectorAll('.jp-Notebook .jp-InputPrompt')[1];
    new MutationObserver(() => seen.push(prompt.textContent)).observe(prompt, { childList: true, subtree: true, characterData: true });
    return Object.assign(window, { seen }) && undefined;
  };
  await page.evaluate(watch);
  await press(page, 'Stop and save', /stopped after step \d+; saved/i);
  await kernelIs(page, 'Idle');
  const seen = await page.evaluate(() => (window as any).seen);
  await textIs(page, inCell(1, '.jp-OutputArea'), /go on with trainer\.train\(\{ resume_from_checkpoint: true \}\)/);
  await textIs(page, inCell(1, '.jp-OutputArea'), /2 cells that waited behind this one were not run: to go on, select the first/);
  expect(await page.locator('.jp-Notebook .jp-InputPrompt').allTextContents()).toEqual(['[1]:', '[2]:', '[ ]:', '[ ]:']);
  expect(seen, 'a cell that ends its step is not shown as over').not.toContain('[ ]:');
  await page.screenshot({ path: join(shots, 'stopped-all.png') });
  await page.click(inCell(2, '.jp-InputArea-editor'));
  await command(page, 'notebook:run-all-below');
  await textIs(page, inCell(2, '.jp-OutputArea'), /second/);
  await textIs(page, inCell(3, '.jp-InputPrompt'), /\[4\]/);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('launcher and palette find tunebook: a new fine-tune is a notebook of its own in the reader’s folder', async () => {
  mkdirSync(join(lab.folder, 'mine'), { recursive: true });
  const page = await lab.browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(`${lab.base}/lab?reset`);
  await page.waitForSelector('.jp-Launcher', { timeout: 120_000 });
  const section = page.locator('.jp-Launcher-section', { hasText: 'New Fine-Tune' });
  await textIs(page, '.jp-Launcher-section:last-of-type', /New Fine-Tune/);
  expect(await section.locator('.jp-LauncherCard-label').allTextContents()).toEqual([
    'New Fine-Tune',
    'Show Training Runs',
    'Inspect Adapter…',
  ]);
  expect(await page.locator('.jp-LauncherCard[title*="tunebook"] img[src*="logo-svg.svg"]').count(), 'the kernel has a logo').toBe(2);
  await page.screenshot({ path: join(shots, 'launcher.png') });
  await page.evaluate(() => (window as any).jupyterapp.commands.execute('filebrowser:go-to-path', { path: 'mine' }));
  await page.keyboard.press('Control+Shift+C');
  const palette = page.locator('#modal-command-palette');
  await palette.locator('input').fill('tunebook');
  const found = palette.locator('.lm-CommandPalette-itemLabel');
  await expect
    .poll(() => found.allTextContents())
    .toEqual(expect.arrayContaining(['New Fine-Tune', 'Show Training Runs', 'Stop Training and Save']));
  await page.keyboard.press('Escape');
  const open = (args: object) =>
    page.evaluate((given) => (window as any).jupyterapp.commands.execute('tunebook:new-fine-tune', given), args);
  for (const name of ['fine-tune', 'fine-tune-2']) {
    await open({ cwd: 'mine' });
    await page.waitForFunction((path) => (window as any).jupyterapp.shell.currentWidget.context?.path === path, `mine/${name}.ipynb`);
  }
  expect(cellsOf('mine/fine-tune.ipynb').length).toBeGreaterThan(8);
  await kernelIs(page, 'Idle');
  await page.close();
});

/** Notebook 01 with little to do in each of its cells. */
const FIRST = (JSON.parse(readFileSync(resolve(__dirname, '../../notebooks/01-first-fine-tune.ipynb'), 'utf8')).cells as Source[])
  .filter(({ cell_type }) => cell_type === 'code')
  .map(({ source }) =>
    [source]
      .flat()
      .join('')
      .replace(/('What does rank mean in LoRA\?',)\n[\s\S]*?\n\];/, '$1\n];')
      .replace('max_steps: 80', 'max_steps: 2')
      .replace('eval_steps: 20', 'eval_steps: 2')
      .replaceAll('max_new_tokens: 60', 'max_new_tokens: 6')
      .replaceAll('(model, test,', '(model, test.select([0, 1]),')
      .replaceAll('(trainer.model, test,', '(trainer.model, test.select([0, 1]),')
      .replace('eval_dataset: test', 'eval_dataset: test.select([0, 1])'),
  );
interface Source {
  cell_type: string;
  source: string | string[];
}

browserIt('every cell of the first notebook can be run twice, and all of them again after %reset', async () => {
  const twice = FIRST.flatMap((source) => [source, source]);
  lab.write('twice.ipynb', [...twice, '%reset', ...FIRST]);
  const { page, errors } = await lab.open('twice.ipynb');
  await kernelIs(page, 'Idle');
  await command(page, 'notebook:run-all-cells');
  const prompts = () => page.locator('.jp-Notebook .jp-CodeCell .jp-InputPrompt').allTextContents();
  const all = twice.length + 1 + FIRST.length;
  await expect.poll(async () => (await prompts()).filter((text) => /\*/.test(text)).length, { timeout: 240_000, interval: 500 }).toBe(0);
  await save(page, join(lab.folder, 'twice.ipynb'));
  const cells = cellsOf('twice.ipynb');
  expect(cells.map(({ execution_count }) => execution_count)).toEqual(Array.from({ length: all }, (_, i) => i + 1));
  const outputs = cells.flatMap((cell) => cell.outputs);
  expect(outputs.filter(({ output_type }) => output_type === 'error')).toEqual([]);
  const said = outputs.filter(({ name }) => name === 'stderr').map(({ text }) => [text].flat().join(''));
  for (const text of said)
    expect(text, 'a second run has the same folder').toMatch(/^Warning: 'out\/qa-lora' holds a checkpoint of another run/);
  expect(errors).toEqual([]);
  await page.close();
});

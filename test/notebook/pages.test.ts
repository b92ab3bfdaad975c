// Pages without a run of their own: help, themes and keys, settings, what comes from elsewhere.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { ADAPTER_MIME, adapterPayload, RUN_MIME, runPayload } from '../../views/src';
import { tinyLlama } from '../tiny';
import { adapter } from '../views/adapters';
import { hostile } from '../views/hostile';
import { longRun, runData } from '../views/runs';
import { executablePath, LOAD, runCells, shots, textIs, trainCell, useLab } from './lab';

const lab = useLab();
const browserIt = it.skipIf(!executablePath);
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** Accessibility faults in our own nodes. */
async function faults(page: Page, selectors: string[], only?: string): Promise<string[]> {
  await page.evaluate(axe);
  const how = { resultTypes: ['violations'], ...(only && { runOnly: [only] }) };
  const found = await page.evaluate(([s, o]) => (window as any).axe.run({ include: s.map((one) => [one]) }, o), [selectors, how] as const);
  return found.violations.flatMap((v: any) => v.nodes.map((node: any) => `${v.id}: ${node.html.slice(0, 200)}`));
}

/** A notebook of outputs that were made elsewhere. */
const shown = (payload: unknown, mime: string = RUN_MIME) => ({
  source: '',
  outputs: [{ output_type: 'display_data', metadata: {}, data: { [mime]: payload, 'text/plain': 'x' } }],
});

browserIt('help where one types, and the pages of the same docstrings in the Help menu', async () => {
  lab.write('help.ipynb', [LOAD, 'new SFTConfig({ optim: "" })']);
  const { page, errors } = await lab.open('help.ipynb');
  await runCells(page, 1);
  await textIs(page, '.jp-OutputArea-output', /Loaded model/);
  const put = async (column: number) => {
    await page.click('.jp-Notebook .jp-Cell >> nth=1 >> .cm-content');
    await page.keyboard.press('Home');
    for (let i = 0; i < column; i++) await page.keyboard.press('ArrowRight');
  };
  await put(6);
  await page.keyboard.press('Shift+Tab');
  await textIs(page, '.jp-Tooltip', /Options of supervised fine-tuning[\s\S]*learning_rate: number = 2e-5/);
  await page.screenshot({ path: join(shots, 'tooltip.png') });
  await page.keyboard.press('Escape');
  await put('new SFTConfig({ optim: "'.length);
  await page.keyboard.press('Tab');
  await textIs(page, '.jp-Completer', /adafactor[\s\S]*adamw_8bit/);
  await page.keyboard.press('Escape');
  await page.click('.lm-MenuBar-itemLabel:text("Help")');
  await page.click('.lm-Menu-itemLabel:text("tunebook API")');
  await page.click('.tunebook-page a:has-text("SFTConfig")');
  await textIs(page, '.tunebook-page', /The peak of the learning rate/);
  expect(await faults(page, ['.tunebook-api'])).toEqual([]);
  await page.screenshot({ path: join(shots, 'api.png') });
  await page.setViewportSize({ width: 900, height: 1000 });
  const cut = (node: Element) => node.scrollWidth - node.clientWidth;
  expect(await page.locator('.tunebook-page').evaluate(cut), 'all columns are on a narrow page').toBe(0);
  // Links lead to places on pages, and Back to where one was.
  await page.setViewportSize({ width: 900, height: 500 });
  const scrolled = () => page.locator('.tunebook-page').evaluate((node) => Math.round(node.scrollTop));
  await page.click('.tunebook-api >> role=button[name="All names"]');
  await page.click('.tunebook-page a:has-text("OptionError")');
  const link = page.locator('.tunebook-page a[href$="TunebookError.md#constructor"]').last();
  await link.scrollIntoViewIfNeeded();
  const before = await scrolled();
  expect(before).toBeGreaterThan(50);
  await link.click();
  await textIs(page, '.tunebook-page h1', /TunebookError/);
  expect(await scrolled()).toBeGreaterThan(50);
  await page.click('.tunebook-api >> role=button[name="Back"]');
  await textIs(page, '.tunebook-page h1', /OptionError/);
  expect(await scrolled()).toBe(before);
  await page.click('.tunebook-api >> role=button[name="All names"]');
  await page.click('.tunebook-page a:has-text("SFTConfig")');
  await page.click('.tunebook-page a:has-text("01-first-fine-tune")');
  await textIs(page, '.tunebook-api [role=status]', /is part of tunebook’s repository/);
  await page.click('.tunebook-api >> role=button[name="Back"]');
  await textIs(page, '.tunebook-page h1', /tunebook/);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('themes, keyboard and screen readers', async () => {
  lab.write('look.ipynb', [
    shown(runPayload({ ...longRun(200), id: 'x', status: 'finished', name: 'look' })),
    LOAD,
    `${trainCell('look', 30).replace('await trainer.train();', '')}await trainer.train();\nawait inspect(trainer.model)`,
    "import { inspect_quantization } from 'tunebook';\nawait inspect_quantization('wide')",
  ]);
  cpSync(await tinyLlama(8, { hidden_size: 64, intermediate_size: 128 }), join(lab.folder, 'wide'), { recursive: true });
  const { page, errors } = await lab.open('look.ipynb');
  await runCells(page, 4);
  await page.waitForSelector('.tunebook-view:has(.tunebook-heading:text("Quantisation of wide")) .tunebook-chart svg', { timeout: 60_000 });
  await page.waitForSelector('.tunebook-adapter .tunebook-chart svg', { timeout: 60_000 });
  await page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  await page.click('[data-id="tunebook-runs"]');
  await page.waitForSelector('.tunebook-runs .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  const tabsOf = ['Plot', 'Samples', 'Figures', 'For learners', 'For experts', 'Layers'];
  for (const theme of ['JupyterLab Light', 'JupyterLab Dark', 'JupyterLab Dark High Contrast']) {
    await page.evaluate((name) => (window as any).jupyterapp.commands.execute('apputils:change-theme', { theme: name }), theme);
    await page.waitForTimeout(1500);
    for (const name of tabsOf) {
      for (const tab of await page.locator(`role=tab[name="${name}"]`).all()) await tab.click();
      await page.waitForTimeout(400);
      // Only colours are other ones in another theme.
      const only = theme === 'JupyterLab Light' ? undefined : 'cat.color';
      expect(await faults(page, ['.tunebook-view', '.tunebook-runs-head'], only), `${theme}, ${name}`).toEqual([]);
    }
    for (const name of ['Plot', 'For learners']) for (const tab of await page.locator(`role=tab[name="${name}"]`).all()) await tab.click();
    await page.waitForTimeout(800);
    await page.screenshot({ path: join(shots, `${theme.split(' ').slice(1).join('-').toLowerCase()}.png`) });
  }
  // Everything by keyboard: into the view, through its tabs, to every control that acts.
  const tab = page.locator('.tunebook-run >> role=tab[name="Plot"]').first();
  await tab.focus();
  await page.keyboard.press('ArrowRight');
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Samples');
  await page.keyboard.press('End');
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Figures');
  const reached: string[] = [];
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press('Tab');
    reached.push(
      await page.evaluate(() => (document.activeElement as any)?.labels?.[0]?.textContent || document.activeElement?.textContent || ''),
    );
  }
  expect(reached.map((text) => text.slice(0, 9))).toEqual(
    expect.arrayContaining(['Smoothing', 'log scale', 'Compare', 'PNG', 'CSV', 'Folder']),
  );
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('keys that a control understands stay with it, and the others are the notebook’s', async () => {
  const run = { ...longRun(50), id: 'k', status: 'finished' as const, name: 'keys' };
  lab.write('keys.ipynb', ['1', shown(runPayload(run)), shown(adapterPayload(adapter()), ADAPTER_MIME)]);
  const { page, errors } = await lab.open('keys.ipynb');
  await page.waitForSelector('.tunebook-adapter .tunebook-chart svg', { timeout: 60_000 });
  await page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  const notebook = () =>
    page.evaluate(() => {
      const { content } = (window as any).jupyterapp.shell.currentWidget;
      return [content.activeCellIndex, content.widgets.length, content.mode];
    });
  const focused = (what: string) => page.evaluate((name) => (document.activeElement as any)[name], what);
  const view = page.locator('.tunebook-run').first();
  await view.locator('input[type="range"]').focus();
  const before = await notebook();
  expect(before).toEqual([1, 3, 'command']);
  for (const key of ['ArrowLeft', 'ArrowDown', 'ArrowLeft']) await page.keyboard.press(key);
  expect(await focused('value')).toBe('0.87');
  await view.locator('input[type="checkbox"]').first().focus();
  await page.keyboard.press('Space');
  expect(await focused('checked')).toBe(true);
  await view.locator('summary').focus();
  await page.keyboard.press('Enter');
  expect(await view.locator('details').evaluate((node: any) => node.open)).toBe(true);
  await page.keyboard.press('Escape');
  expect(await view.locator('details').evaluate((node: any) => node.open), 'Esc closes the menu').toBe(false);
  expect(await focused('localName')).toBe('summary');
  await page.keyboard.press('Enter');
  await view.locator('.tunebook-heading').click();
  expect(await view.locator('details').evaluate((node: any) => node.open), 'so does a click elsewhere').toBe(false);
  expect(await notebook()).toEqual(before);
  const list = page.locator('.tunebook-adapter select');
  const [first] = [await list.inputValue(), await list.focus()];
  await page.keyboard.press('Home');
  const top = await list.inputValue();
  await page.keyboard.press('ArrowDown');
  expect(new Set([top, await list.inputValue()]).size).toBe(2);
  expect(first).toBeTruthy();
  expect(await notebook()).toEqual([2, 3, 'command']);
  await page.reload();
  await view.locator('input[type="range"]').waitFor({ timeout: 60_000 });
  expect(await view.locator('input[type="range"]').inputValue(), 'a reload keeps what was set').toBe('0.87');
  expect(await view.locator('.tunebook-tools input[type="checkbox"]').first().isChecked()).toBe(true);
  await page.waitForSelector('.tunebook-adapter .tunebook-chart svg', { timeout: 60_000 });
  // What no control understands is the notebook's still: b makes a cell below.
  await page.keyboard.press('Escape');
  await page.locator('.tunebook-adapter >> role=tab[name="For learners"]').focus();
  await page.keyboard.press('b');
  expect((await notebook())[1]).toBe(4);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('settings hold; a view whose notebook was moved, or that has no kernel of ours behind it, says so', async () => {
  mkdirSync(join(lab.settings, '@tunebook/jupyterlab'), { recursive: true });
  mkdirSync(join(lab.folder, 'elsewhere'), { recursive: true });
  const file = join(lab.settings, '@tunebook/jupyterlab/plugin.jupyterlab-settings');
  writeFileSync(file, JSON.stringify({ logScale: true, smoothing: 0.5 }));
  const running = { ...longRun(50), id: 'gone', name: 'gone', folder: 'gone', updatedAt: new Date().toISOString() };
  lab.write('moved.ipynb', [shown(runPayload(running))]);
  const { page, errors } = await lab.open('moved.ipynb');
  await page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  expect(await page.isChecked('.tunebook-run .tunebook-tools input[type="checkbox"]')).toBe(true);
  expect(await page.inputValue('.tunebook-run .tunebook-tools input[type="range"]')).toBe('0.5');
  await textIs(page, '.tunebook-run .tunebook-said', /does not know the run/);
  await textIs(page, '.tunebook-run .tunebook-age', /Shown is what was known/);
  await page.evaluate(() => (window as any).jupyterapp.serviceManager.contents.rename('moved.ipynb', 'elsewhere/moved.ipynb'));
  await page.click('.tunebook-run >> role=button[name="Folder"]');
  await textIs(page, '.tunebook-run .tunebook-age', /The run is saved in gone, which the file browser does not reach/);
  expect(await page.locator('.tunebook-run .trace').count(), 'the run is still shown').toBeGreaterThan(0);
  rmSync(file);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('hostile payloads are plain sentences in the cell: no script runs, and the page stays alive', async () => {
  const random = Random.seeded(21);
  const made = Array.from({ length: 60 }, () => hostile(random, JSON.parse(JSON.stringify(runPayload(runData())))));
  // What JSON cannot hold, and what Jupyter itself refuses to read (500 levels, half a surrogate pair), would not reach the page through a file.
  const payloads = made.map((payload) => JSON.stringify(payload) ?? 'null').filter((text) => !/\[{99}|(\{"a":){99}|\\ud800/.test(text));
  expect(payloads.length).toBeGreaterThan(30);
  const fixed = [{ schemaVersion: 99 }, { schemaVersion: 1, name: '<img src=x onerror=alert(1)>' }, [1]];
  lab.write(
    'hostile.ipynb',
    [...fixed, ...payloads.map((text) => JSON.parse(text))]
      .map((payload) => shown(payload))
      .concat(shown({ schemaVersion: 1, modules: '<script>' }, ADAPTER_MIME)),
  );
  const { page, errors } = await lab.open('hostile.ipynb');
  page.on('dialog', (dialog) => {
    errors.push(`a script ran: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await textIs(page, '.tunebook-run', /./);
  for (let i = 0; i < 15; i++) {
    await page.locator('.jp-WindowedPanel-outer, .jp-Notebook').first().hover();
    await page.mouse.wheel(0, 3000);
    await page.waitForTimeout(200);
  }
  await page.keyboard.press('Control+Home');
  await page
    .locator('.jp-WindowedPanel-outer')
    .first()
    .evaluate((node) => node.scrollTo(0, 0));
  await page.waitForTimeout(500);
  const texts = await page.locator('.tunebook-run').allTextContents();
  expect(texts.slice(0, 3)).toEqual([
    expect.stringMatching(/newer tunebook \(schema 99\).*Update the extension/),
    expect.stringMatching(/damaged: id is missing/),
    expect.stringMatching(/not a training run/),
  ]);
  expect(await page.evaluate(() => 1 + 1)).toBe(2);
  expect(errors).toEqual([]);
  await page.close();
});

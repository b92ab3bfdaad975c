import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { expect, it } from 'vitest';
// @ts-expect-error: plain JavaScript, shared with the benches
import { notebookOf, startBrowser, startHub, startServer } from '../../scripts/lab.mjs';
import { RUN_MIME, runPayload } from '../../views/src';
import { scratch } from '../tiny';
import { longRun } from '../views/runs';
import { executablePath, shots } from './lab';

const root = resolve(__dirname, '../..');
const bin = join(root, '.venv-test/bin');
const env = { ...process.env, JUPYTER_PATH: join(root, '.venv/share/jupyter') };

it('papermill executes a notebook', () => {
  const folder = scratch('papermill');
  writeFileSync(
    join(folder, 'in.ipynb'),
    JSON.stringify(notebookOf(['const answer: number = 6 * 7;', "console.log('answer', answer);", 'answer'])),
  );
  const result = spawnSync(join(bin, 'papermill'), ['in.ipynb', 'out.ipynb', '--kernel', 'tunebook'], {
    cwd: folder,
    env,
    encoding: 'utf8',
  });
  expect(result.status, result.stderr).toBe(0);
  const { cells } = JSON.parse(readFileSync(join(folder, 'out.ipynb'), 'utf8'));
  expect(cells[1].outputs[0].text.join('')).toBe('answer 42\n');
  expect(cells[2].outputs[0].data['text/plain'].join('')).toBe('42');
});

it('jupyter console runs lines', () => {
  const result = spawnSync(join(bin, 'jupyter-console'), ['--kernel', 'tunebook', '--simple-prompt'], {
    ...{ cwd: scratch('console'), env, encoding: 'utf8', timeout: 120_000 },
    input: 'const a = 20;\na + 22\nthrow new Error("as told")\n',
  });
  expect(result.stdout).toMatch(/Out\[2\]: ?\s*42/);
  expect(result.stdout + result.stderr).toContain('as told');
});

/** Runs the cell with this index and waits for what it shows. */
async function runCell(page: Page, index: number, shown: string) {
  await page.waitForSelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', { timeout: 60_000, state: 'attached' });
  await page.click(`.jp-Notebook .jp-Cell >> nth=${index}`);
  await page.keyboard.press('Shift+Enter');
  await page.waitForFunction((text) => document.body.textContent?.includes(text), shown, { timeout: 60_000 });
}

it.skipIf(!executablePath)('Notebook 7 runs cells and shows a run', async () => {
  const folder = scratch('notebook7');
  const data = { [RUN_MIME]: runPayload({ ...longRun(100), id: 'n', name: 'seven', status: 'finished' }), 'text/plain': 'x' };
  const cells = [{ source: '', outputs: [{ output_type: 'display_data', metadata: {}, data }] }, "'from ' + 'notebook 7'"];
  writeFileSync(join(folder, 'seven.ipynb'), JSON.stringify(notebookOf(cells)));
  const { base, stop } = await startServer(folder, 'notebook');
  const browser: Browser = await startBrowser(executablePath);
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    const errors: string[] = [];
    // Notebook 7.6 throws one of its own at every start.
    page.on('pageerror', (error) => error.stack?.includes('@tunebook') && errors.push(error.stack));
    await page.goto(`${base}/notebooks/seven.ipynb`);
    await page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 90_000, state: 'attached' });
    await runCell(page, 1, "'from notebook 7'");
    await page.screenshot({ path: join(shots, 'notebook7.png') });
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
    await stop();
  }
});

it.skipIf(!executablePath)("JupyterHub's single-user server runs cells for the one who logged in", async () => {
  const home = scratch('hub');
  mkdirSync(join(home, 'ada'));
  writeFileSync(join(home, 'ada/hub.ipynb'), JSON.stringify(notebookOf(["process.cwd().split('/').at(-1) + ' at the hub'"])));
  const { base, stop } = await startHub(home);
  const browser: Browser = await startBrowser(executablePath);
  try {
    const page = await browser.newPage();
    // A page that has no kernel yet shows itself idle.
    const heard = new Promise<void>((resolve) => {
      page.on('websocket', (socket) => socket.url().includes('/channels') && socket.once('framereceived', () => resolve()));
    });
    const next = encodeURIComponent('/hub/user/ada/notebooks/hub.ipynb');
    await page.goto(`${base}/hub/login?next=${encodeURIComponent(`/hub/spawn?next=${next}`)}`);
    await page.fill('#username_input', 'ada');
    await page.click('#login_submit');
    await page.waitForSelector('.jp-Notebook', { timeout: 90_000 });
    await heard;
    await runCell(page, 0, "'ada at the hub'");
  } finally {
    await browser.close();
    await stop();
  }
});

import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

const root = resolve(__dirname, '../..');
const executablePath = process.env.TUNEBOOK_CHROMIUM;
const shots = join(root, 'test-results');

const CELLS = [
  "import { AutoModelForCausalLM, AutoTokenizer, load_dataset, LoraConfig, SFTConfig, SFTTrainer } from 'tunebook';\nconst model = await AutoModelForCausalLM.from_pretrained('model');\nconst tokenizer = await AutoTokenizer.from_pretrained('tok');\nconst { train } = await load_dataset('rows.jsonl');",
  "const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: train, eval_dataset: train, peft_config: new LoraConfig({ r: 2, target_modules: 'all-linear' }), args: new SFTConfig({ output_dir: 'out', max_steps: 300, per_device_train_batch_size: 4, eval_strategy: 'steps', eval_steps: 100, learning_rate: 1e-2, lr_scheduler_type: 'cosine', assistant_only_loss: true }) });\nawait trainer.train();",
];

const notebookOf = (sources: string[]) => ({
  cells: sources.map((source, i) => ({ cell_type: 'code', id: `c${i}`, metadata: {}, execution_count: null, outputs: [], source })),
  metadata: { kernelspec: { name: 'tunebook', display_name: 'TypeScript (tunebook)', language: 'typescript' } },
  nbformat: 4,
  nbformat_minor: 5,
});

/** A folder with a notebook that trains a tiny model. */
async function workplace(): Promise<string> {
  const folder = scratch('lab');
  cpSync(await tinyLlama(8), join(folder, 'model'), { recursive: true });
  mkdirSync(join(folder, 'tok'));
  await tinyTokenizer().save_pretrained(join(folder, 'tok'));
  const rows = Array.from({ length: 40 }, (_, i) => ({
    messages: [
      { role: 'user', content: `What is ${i}?` },
      { role: 'assistant', content: `It is ${i}.` },
    ],
  }));
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  writeFileSync(join(folder, 'train.ipynb'), JSON.stringify(notebookOf(CELLS)));
  return folder;
}

const freePort = () =>
  new Promise<number>((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });

let folder: string;
let server: ChildProcess;
let browser: Browser;
let url: string;

beforeAll(async () => {
  if (!executablePath) return;
  folder = await workplace();
  const port = await freePort();
  url = `http://127.0.0.1:${port}/lab`;
  mkdirSync(shots, { recursive: true });
  const bin = join(root, '.venv/bin');
  const args = [
    '--no-browser',
    '--allow-root',
    `--port=${port}`,
    '--port-retries=0',
    '--IdentityProvider.token=',
    '--ServerApp.password=',
    `--ServerApp.root_dir=${folder}`,
    '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
  ];
  server = spawn(join(bin, 'jupyter-lab'), args, {
    env: {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      JUPYTER_CONFIG_DIR: scratch('config'),
      JUPYTERLAB_WORKSPACES_DIR: scratch('ws'),
      JUPYTERLAB_SETTINGS_DIR: scratch('settings'),
    },
    stdio: 'ignore',
  });
  for (
    let i = 0;
    i < 120 &&
    !(await fetch(`${url}/api/..`).then(
      () => true,
      () => false,
    ));
    i++
  )
    await new Promise((r) => setTimeout(r, 500));
  browser = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--disable-quic',
    ],
  });
});
afterAll(async () => {
  await browser?.close();
  server?.kill('SIGTERM');
});

async function open(notebook: string): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1400 } });
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(`${url}/tree/${notebook}?reset`);
  await page.waitForSelector('.jp-Notebook .jp-Cell', { timeout: 120_000 });
  return { page, errors };
}

it.skipIf(!executablePath)('a run draws itself live under its cell, and is still there after saving and reloading', async () => {
  const { page, errors } = await open('train.ipynb');
  await page.waitForFunction(() => document.querySelector('#jp-main-statusbar')?.textContent?.includes('| Idle'), undefined, {
    timeout: 120_000,
  });
  await page.click('.jp-Notebook .jp-Cell >> nth=0');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.press('Shift+Enter');
  // While the run is on: the view stands and says so.
  await page.waitForFunction(
    () => /training, step \d+ of 300/.test(document.querySelector('.tunebook-run p')?.textContent ?? ''),
    undefined,
    { timeout: 120_000, polling: 50 },
  );
  await page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  await page.waitForFunction(
    () => document.querySelector('.tunebook-run p')?.textContent?.includes('finished, step 300 of 300'),
    undefined,
    { timeout: 180_000 },
  );
  expect(await page.locator('.tunebook-run').count(), 'one view, updated in place').toBe(1);
  const legend = await page.locator('.tunebook-run .legendtext').allTextContents();
  expect(legend).toEqual(['training loss', 'moving average', 'evaluation loss', 'learning rate']);
  await page.screenshot({ path: join(shots, 'run.png') });
  await page.keyboard.press('Control+s');
  await page.waitForTimeout(2000);
  const saved = JSON.parse(readFileSync(join(folder, 'train.ipynb'), 'utf8'));
  const bundle = saved.cells[1].outputs
    .map((o: { data?: Record<string, unknown> }) => o.data)
    .find((d: Record<string, unknown>) => d?.['application/vnd.tunebook.run.v1+json']);
  expect(Object.keys(bundle).sort()).toEqual(['application/vnd.tunebook.run.v1+json', 'image/png', 'text/html', 'text/plain']);
  expect(errors).toEqual([]);
  await page.close();
  const again = await open('train.ipynb');
  await again.page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  expect(await again.page.locator('.tunebook-run p').first().textContent()).toContain('finished, step 300 of 300');
  expect(again.errors).toEqual([]);
  await again.page.close();
});

it.skipIf(!executablePath)(
  "JupyterLab's interrupt button ends a run after its step; a reload meanwhile keeps what was saved; it resumes",
  async () => {
    const resume =
      "const result = await trainer.train({ resume_from_checkpoint: true });\nconsole.log('resumed at', trainer.run!.events[0].step);";
    const long = CELLS[1].replace('max_steps: 300', 'max_steps: 4000').replace("'out'", "'long'");
    const notebook = notebookOf([CELLS[0], long, resume]);
    writeFileSync(join(folder, 'long.ipynb'), JSON.stringify(notebook));
    const { page } = await open('long.ipynb');
    const status = (pattern: RegExp) =>
      page.waitForFunction((p) => new RegExp(p).test(document.querySelector('.tunebook-run p')?.textContent ?? ''), pattern.source, {
        timeout: 120_000,
        polling: 50,
      });
    const idle = () =>
      page.waitForFunction(() => document.querySelector('#jp-main-statusbar')?.textContent?.includes('| Idle'), undefined, {
        timeout: 120_000,
      });
    await idle();
    await page.click('.jp-Notebook .jp-Cell >> nth=0');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.press('Shift+Enter');
    await status(/training, step \d{2,} of 4000/);
    await page.keyboard.press('Control+s');
    await page.waitForTimeout(1500);
    page.once('dialog', (dialog) => dialog.accept());
    await page.reload();
    await page.waitForSelector('.tunebook-run p', { timeout: 120_000 });
    await page.screenshot({ path: join(shots, 'reloaded.png') });
    // The kernel trains on: it is busy, and its button still reaches it.
    await page.waitForFunction(() => document.querySelector('#jp-main-statusbar')?.textContent?.includes('| Busy'), undefined, {
      timeout: 60_000,
    });
    await page.click('[data-command="notebook:interrupt-kernel"], jp-button[data-command="notebook:interrupt-kernel"]');
    await idle();
    const [checkpoint] = readdirSync(join(folder, 'long')).filter((name) => name.startsWith('checkpoint-'));
    const step = Number(checkpoint.slice('checkpoint-'.length));
    expect(step).toBeGreaterThan(10);
    expect(step).toBeLessThan(4000);
    await page.click('.jp-Notebook .jp-Cell >> nth=2');
    await page.keyboard.press('Shift+Enter');
    await page.waitForTimeout(3000);
    await page.click('[data-command="notebook:interrupt-kernel"], jp-button[data-command="notebook:interrupt-kernel"]');
    await page.waitForFunction((s) => document.body.textContent?.includes(`resumed at ${s}`), step, { timeout: 120_000 });
    await page.screenshot({ path: join(shots, 'interrupted.png') });
    await page.close();
  },
);

it.skipIf(!executablePath)('a damaged run is a plain sentence in the cell', async () => {
  const notebook = JSON.parse(readFileSync(join(folder, 'train.ipynb'), 'utf8'));
  const output = (data: unknown) => ({
    output_type: 'display_data',
    metadata: {},
    data: { 'application/vnd.tunebook.run.v1+json': data, 'text/plain': 'x' },
  });
  notebook.cells = [
    {
      cell_type: 'code',
      id: 'h',
      metadata: {},
      execution_count: 1,
      source: '',
      outputs: [output({ schemaVersion: 99 }), output({ schemaVersion: 1, name: '<img src=x onerror=alert(1)>' }), output([1])],
    },
  ];
  writeFileSync(join(folder, 'hostile.ipynb'), JSON.stringify(notebook));
  const { page, errors } = await open('hostile.ipynb');
  await page.waitForSelector('.tunebook-run p');
  const texts = await page.locator('.tunebook-run > p').allTextContents();
  expect(texts).toEqual([
    expect.stringMatching(/newer tunebook \(schema 99\)/),
    expect.stringMatching(/damaged/),
    expect.stringMatching(/not a training run/),
  ]);
  expect(errors).toEqual([]);
  await page.close();
});

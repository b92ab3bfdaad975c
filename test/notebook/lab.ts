import { cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
// @ts-expect-error: plain JavaScript, shared with the benches
import { notebookOf, startBrowser, startServer } from '../../scripts/lab.mjs';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

export const executablePath = process.env.TUNEBOOK_CHROMIUM;
/** Screenshots for people to look at. */
export const shots = resolve(__dirname, '../../test-results');

export const LOAD =
  "import { AutoModelForCausalLM, AutoTokenizer, inspect, load_dataset, LoraConfig, SFTConfig, SFTTrainer } from 'tunebook';\nconst model = await AutoModelForCausalLM.from_pretrained('model');\nconst tokenizer = await AutoTokenizer.from_pretrained('tok');\nconst { train } = await load_dataset('rows.jsonl');";

/** A cell that trains a tiny model. */
export const trainCell = (output_dir: string, max_steps: number, more = ''): string =>
  `const trainer = new SFTTrainer({ model, processing_class: tokenizer, train_dataset: train, eval_dataset: train, peft_config: new LoraConfig({ r: 2, target_modules: 'all-linear' }), args: new SFTConfig({ output_dir: '${output_dir}', max_steps: ${max_steps}, per_device_train_batch_size: 4, eval_strategy: 'steps', eval_steps: 100, learning_rate: 1e-2, lr_scheduler_type: 'cosine', assistant_only_loss: true, ${more} }) });\nawait trainer.train();`;

export interface Lab {
  folder: string;
  /** What a user has set in JupyterLab lies here. */
  settings: string;
  base: string;
  browser: Browser;
  /** Writes a notebook into the folder. */
  write(name: string, cells: (string | object)[]): void;
  /** Opens a notebook in JupyterLab and waits for its first cell; errors of the page are collected. */
  open(name: string): Promise<{ page: Page; errors: string[] }>;
}

/** JupyterLab with Chromium for a file of tests; without a Chromium nothing is started, and its tests are skipped. */
export function useLab(): Lab {
  const lab = {} as Lab & { stop(): Promise<void> };
  beforeAll(async () => {
    if (!executablePath) return;
    mkdirSync(shots, { recursive: true });
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
    const { base, settings, stop } = await startServer(folder);
    const browser: Browser = await startBrowser(executablePath);
    Object.assign(lab, {
      folder,
      base,
      settings,
      stop,
      browser,
      write: (name: string, cells: (string | object)[]) => writeFileSync(join(folder, name), JSON.stringify(notebookOf(cells))),
      async open(name: string) {
        const page = await browser.newPage({ viewport: { width: 1280, height: 1400 } });
        const errors: string[] = [];
        page.on('pageerror', (error) => errors.push(String(error)));
        page.on('request', (request) => {
          const url = request.url();
          if (/^https?:/.test(url) && !url.startsWith(base)) errors.push(`The page asked for ${url}.`);
        });
        await page.goto(`${base}/lab/tree/${name}?reset`);
        await page.waitForSelector('.jp-Notebook .jp-Cell', { timeout: 120_000 });
        return { page, errors };
      },
    });
  });
  afterAll(async () => {
    await lab.browser?.close();
    await lab.stop?.();
  });
  return lab;
}

const LONG = { timeout: 90_000, polling: 50 };

/** Waits until the kernel's state in the status bar is this. */
export const kernelIs = (page: Page, state: 'Idle' | 'Busy') =>
  page.waitForFunction((s) => document.querySelector('#jp-main-statusbar')?.textContent?.includes(`| ${s}`), state, LONG);

/** Waits until the text of the first element that the selector finds matches. */
export const textIs = (page: Page, selector: string, pattern: RegExp) =>
  page.waitForFunction(
    ([s, p]) => new RegExp(p, 'i').test(document.querySelector(s)?.textContent ?? ''),
    [selector, pattern.source] as const,
    LONG,
  );

/** Runs the first cells of the notebook, one after another. */
export async function runCells(page: Page, count: number): Promise<void> {
  await kernelIs(page, 'Idle');
  await page.click('.jp-Notebook .jp-Cell >> nth=0');
  for (let i = 0; i < count; i++) await page.keyboard.press('Shift+Enter');
}

/** Clicks one of a run's buttons and returns what is said of it. */
export async function press(page: Page, name: string, answer: RegExp): Promise<string> {
  await page.click(`.tunebook-run .tunebook-controls >> role=button[name="${name}"]`);
  await textIs(page, '.tunebook-run .tunebook-said', answer);
  return (await page.textContent('.tunebook-run .tunebook-said')) as string;
}

/** Saves the notebook; resolves when its file is written. */
export async function save(page: Page, path: string): Promise<void> {
  const before = statSync(path).mtimeMs;
  await page.keyboard.press('Control+s');
  for (let i = 0; i < 200 && statSync(path).mtimeMs === before; i++) await page.waitForTimeout(50);
  await page.waitForTimeout(300);
}

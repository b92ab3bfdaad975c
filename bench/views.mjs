// A notebook with ten runs of 50,000 steps in JupyterLab in Chromium: how large, how soon drawn, how smooth; one line of JSON.
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { notebookOf, startBrowser, startServer } from '../scripts/lab.mjs';
import { findChromium } from '../scripts/setup.mjs';

const require = createRequire(import.meta.url);
const { runBundle, runPng } = require('../lib/notebook/run_view.js');
const { newRun } = require('../lib/train/run.js');
const { runData } = require('../lib/notebook/run_data.js');

const RUNS = 10;
const STEPS = 50_000;

function finished(i) {
  const run = newRun(`run ${i}`, `out/${i}`, STEPS, {});
  let bits = 1 + i;
  const noise = () => {
    bits = (Math.imul(bits, 1664525) + 1013904223) >>> 0;
    return bits / 2 ** 32;
  };
  for (let step = 1; step <= STEPS; step++) {
    run.series.loss.push([step, 1 + 3 * Math.exp(-step / 9000) + 0.3 * noise()]);
    run.series.learning_rate.push([step, 1e-4 * (1 - step / STEPS)]);
    run.series.grad_norm.push([step, 0.5 + noise()]);
    run.series.tokens_per_second.push([step, 150 + 20 * noise()]);
    run.series.resident_bytes.push([step, 9e8 + 1e6 * noise()]);
    if (step % 500 === 0) run.series.eval_loss.push([step, 1.2 + 3 * Math.exp(-step / 9000)]);
  }
  return Object.assign(run, { step: STEPS, status: 'finished', memory: { residentBytes: 9e8, peakBytes: 1e9, machineBytes: 24e9 } });
}

/** Milliseconds that a snapshot and a delta of a run this long take in the kernel's process; each is sent so seldom that it takes at most 0.5 %. */
function liveCost() {
  const { runDelta, toldAll } = require('../views/lib/index.js');
  const run = Object.assign(finished(0), { status: 'running' });
  const before = toldAll(run);
  for (const name of ['loss', 'learning_rate', 'grad_norm', 'tokens_per_second', 'resident_bytes']) run.series[name].push([STEPS + 1, 1]);
  const took = (f) => {
    f();
    const start = performance.now();
    for (let i = 0; i < 20; i++) f();
    return (performance.now() - start) / 20;
  };
  const snapshot = took(() => JSON.stringify(runBundle(runData(run))));
  const delta = took(() => JSON.stringify(runDelta(runData(run), before)));
  return { snapshot, delta };
}

const live = liveCost();
const folder = mkdtempSync(join(tmpdir(), 'tunebook-views-'));
const outputs = Array.from({ length: RUNS }, (_, i) => {
  const data = runData(finished(i));
  return { output_type: 'display_data', metadata: {}, data: runBundle(data, runPng(data)) };
});
writeFileSync(
  join(folder, 'runs.ipynb'),
  JSON.stringify(notebookOf(outputs.map((output) => ({ source: '', outputs: [output] }))), null, 1),
);
writeFileSync(join(folder, 'empty.ipynb'), JSON.stringify(notebookOf(['1'])));
const { base, stop } = await startServer(folder);
const browser = await startBrowser(findChromium());
try {
  /** Opens a notebook from a JupyterLab that is up; the longest tasks of the page while it opens and scrolls. */
  const open = async (name, wait) => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    await page.goto(`${base}/lab?reset`);
    await page.waitForSelector('.jp-Launcher', { timeout: 120_000 });
    await page.waitForTimeout(4000);
    await page.evaluate(() => {
      window.tasks = [];
      window.painted = {};
      new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({
        entryTypes: ['longtask'],
      });
      const first = (what, selector) => {
        const observer = new MutationObserver(() => {
          const found = document.querySelector(selector);
          if (!found || window.painted[what]) return;
          requestAnimationFrame(() => setTimeout(() => (window.painted[what] ??= performance.now())));
          observer.disconnect();
        });
        observer.observe(document.body, { childList: true, subtree: true });
      };
      first('view', '.tunebook-run .tunebook-heading');
      first('still', '.tunebook-run .tunebook-still[src]');
      first('plot', '.tunebook-run .js-plotly-plot .trace');
    });
    await page.evaluate((path) => window.jupyterapp.commands.execute('docmanager:open', { path }), name);
    await page.waitForSelector(wait, { timeout: 120_000, state: 'attached' });
    await page.waitForTimeout(3000);
    const tasks = () => page.evaluate(() => window.tasks.splice(0));
    const opening = await tasks();
    const scroller = page.locator('.jp-WindowedPanel-outer').first();
    for (let i = 0; i < 25; i++) {
      await scroller.evaluate((node) => node.scrollBy(0, 250));
      await page.waitForTimeout(120);
    }
    const scrolling = await tasks();
    // back from behind the last cell to a view: its plot is drawn where the reader stays
    await scroller.evaluate((node) => node.scrollBy(0, -1500));
    await page.waitForTimeout(2000);
    const resting = await tasks();
    const painted = await page.evaluate(() => window.painted);
    await page.close();
    const longest = (list) => Math.max(0, ...list);
    return { opening: longest(opening), scrolling: longest(scrolling), resting: longest(resting), painted };
  };
  const empty = await open('empty.ipynb', '.jp-Notebook .jp-Cell');
  const runs = await open('runs.ipynb', '.tunebook-run .js-plotly-plot .trace');
  const found = {
    kilobytesPerRun: statSync(join(folder, 'runs.ipynb')).size / RUNS / 1000,
    stillAfterView: runs.painted.still - runs.painted.view,
    plotAfterView: runs.painted.plot - runs.painted.view,
    longestTaskOpening: runs.opening,
    longestTaskScrolling: runs.scrolling,
    longestTaskResting: runs.resting,
    longestTaskOpeningEmpty: empty.opening,
    snapshotMilliseconds: live.snapshot,
    deltaMilliseconds: live.delta,
  };
  process.stdout.write(`${JSON.stringify(found)}\n`);
} finally {
  await browser.close();
  await stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

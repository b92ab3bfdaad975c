import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { parseRun, RUN_MIME, type RunData } from '../../views/src';
import { executablePath, kernelIs, LOAD, press, runCells, save, shots, textIs, trainCell, useLab } from './lab';

const lab = useLab();
const browserIt = it.skipIf(!executablePath);
const root = resolve(__dirname, '../..');
const HEADING = '.tunebook-run .tunebook-heading';
const outputsOf = (name: string): { data?: Record<string, unknown> }[] =>
  JSON.parse(readFileSync(join(lab.folder, name), 'utf8')).cells.flatMap((cell: { outputs: object[] }) => cell.outputs);
const savedRun = (name: string) => parseRun(outputsOf(name).find((o) => o.data?.[RUN_MIME])?.data?.[RUN_MIME]) as RunData;

browserIt('a run draws itself live under its cell, and is still there after saving and reloading', async () => {
  lab.write('train.ipynb', [LOAD, trainCell('out', 300)]);
  const { page, errors } = await lab.open('train.ipynb');
  await runCells(page, 2);
  await textIs(page, HEADING, /training, step \d+ of 300/);
  await page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  await textIs(page, HEADING, /finished, step 300 of 300/);
  expect(await page.locator('.tunebook-run').count(), 'one view, updated in place').toBe(1);
  const legend = () => page.locator('.tunebook-run .legendtext').allTextContents();
  await expect.poll(legend, { timeout: 20_000 }).toEqual(['training loss', 'moving average', 'evaluation loss', 'epoch', 'checkpoint']);
  const tools = await page
    .locator('.tunebook-run .modebar-btn')
    .evaluateAll((nodes) => nodes.map((node) => node.getAttribute('data-title')));
  expect(tools, 'none sends a chart away').toEqual(['Zoom', 'Pan', 'Zoom in', 'Zoom out', 'Autoscale', 'Reset axes']);
  await page.screenshot({ path: join(shots, 'run.png') });
  await kernelIs(page, 'Idle'); // the picture comes with the last output, after the live view's news
  await save(page, join(lab.folder, 'train.ipynb'));
  const bundle = outputsOf('train.ipynb').find((o) => o.data?.[RUN_MIME])?.data as Record<string, unknown>;
  expect(Object.keys(bundle).sort()).toEqual([RUN_MIME, 'image/png', 'text/html', 'text/plain']);
  expect(savedRun('train.ipynb').series.loss.length, 'every step is in the file').toBe(300);
  expect(errors).toEqual([]);
  await page.close();
  const again = await lab.open('train.ipynb');
  await again.page.waitForSelector('.tunebook-run .js-plotly-plot .trace', { timeout: 60_000, state: 'attached' });
  expect(await again.page.textContent(HEADING)).toContain('finished, step 300 of 300');
  expect(await again.page.textContent('.tunebook-run .tunebook-said')).toBe('Training is over.');
  expect(again.errors).toEqual([]);
  await again.page.close();
});

browserIt('every button does what it says, from the view and from the side panel', async () => {
  lab.write('buttons.ipynb', [LOAD, trainCell('buttons', 100_000)]);
  const { page, errors } = await lab.open('buttons.ipynb');
  await runCells(page, 2);
  await page.waitForSelector('.tunebook-run .tunebook-button:enabled', { timeout: 60_000 });
  const step = Number((await press(page, 'Pause', /paused after step/)).match(/\d+/)![0]);
  await textIs(page, HEADING, new RegExp(`paused, step ${step} of`));
  expect(await press(page, 'Sample now', /taken after/)).toBe(`2 samples taken after step ${step}.`);
  expect(await press(page, 'Evaluate now', /evaluation loss/)).toMatch(new RegExp(`Evaluation loss after step ${step}: \\d`));
  await page.fill('.tunebook-run .tunebook-ask input', 'Who are you?');
  await page.keyboard.press('Enter');
  await page.fill('.tunebook-run .tunebook-ask input', 'And why?');
  await page.click('.tunebook-run >> role=button[name="Ask"]');
  await expect.poll(() => page.locator('.tunebook-run .tunebook-pair').count(), { timeout: 30_000 }).toBe(2);
  const questions = await page.locator('.tunebook-run .tunebook-question').allTextContents();
  expect(questions.slice(-2), 'in the order asked').toEqual([`Who are you? step ${step}`, `And why? step ${step}`]);
  expect(await page.locator('.tunebook-run .tunebook-pair .tunebook-label').allTextContents()).toEqual(
    Array(2).fill(['base model', 'with the adapter']).flat(),
  );
  await page.fill('.tunebook-run .tunebook-controls input', 'much');
  expect(await press(page, 'Set', /must be a number/)).toBe('The learning rate must be a number such as 2e-4.');
  await page.fill('.tunebook-run .tunebook-controls input', '3e-3');
  expect(await press(page, 'Set', /learning rate from/)).toMatch(
    /^Peak learning rate from 0.01 to 0.003: the schedule \(cosine\) makes it 0.00\d+ at step \d+/,
  );
  await expect.poll(() => page.inputValue('.tunebook-run .tunebook-controls input')).toBe('0.003');
  await page.fill('.tunebook-run .tunebook-controls input', '10');
  await page.keyboard.press('Enter');
  await textIs(page, '.jp-Dialog', /3,333 times the present peak of 0.003/);
  await page.screenshot({ path: join(shots, 'absurd.png') });
  await page.click('.jp-Dialog .jp-mod-reject');
  await textIs(page, '.tunebook-run .tunebook-said', /stays at its peak of 0.003/);
  await page.click('.tunebook-run >> role=tab[name="Samples"]');
  await textIs(page, '.tunebook-samples caption', /What is \d+\?/);
  await page.screenshot({ path: join(shots, 'samples.png') });
  await page.click('.tunebook-run >> role=tab[name="Plot"]');
  await press(page, 'Resume', /resumed after step/);
  const command = (name: string) => page.evaluate((id) => (window as any).jupyterapp.commands.execute(id), `tunebook:${name}`);
  await command('pause');
  await textIs(page, HEADING, /paused, step/);
  await command('resume');
  await textIs(page, HEADING, new RegExp(`training, step (?!${step} )\\d+ of`));
  // The side panel follows the same run, and its buttons reach it as well.
  await page.click('[data-id="tunebook-runs"]');
  await page.waitForSelector('.tunebook-runs .tunebook-button:enabled');
  await page.screenshot({ path: join(shots, 'panel.png') });
  await page.click('.tunebook-runs >> role=button[name="Stop and save"]');
  await textIs(page, '.tunebook-runs .tunebook-said', /stopped after step \d+; saved .*checkpoint-\d+/);
  await textIs(page, HEADING, /stopped and saved/);
  await kernelIs(page, 'Idle');
  const [checkpoint] = readdirSync(join(lab.folder, 'buttons')).filter((name) => name.startsWith('checkpoint-'));
  expect(await page.textContent('.tunebook-runs .tunebook-said')).toContain(checkpoint);
  await save(page, join(lab.folder, 'buttons.ipynb'));
  const run = savedRun('buttons.ipynb');
  expect(new Map(run.series.learning_rate).get(step + 1)).toBeCloseTo(3e-3, 4);
  expect(run.samples.map((sample) => [sample.step, Boolean(sample.asked), sample.base !== undefined])).toEqual([
    ...Array(2).fill([step, false, false]),
    ...Array(2).fill([step, true, true]),
  ]);
  const files = async (button: string) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click(`.tunebook-run >> role=button[name="${button}"]`)]);
    return [download.suggestedFilename(), readFileSync(await download.path())] as const;
  };
  const [csv, table] = await files('CSV');
  expect([csv, table.toString().split('\n')[0]]).toEqual([
    'buttons.csv',
    'step,loss,eval_loss,learning_rate,grad_norm,tokens_per_second,resident_bytes,entropy,mean_token_accuracy,eval_entropy,eval_mean_token_accuracy',
  ]);
  const [png, picture] = await files('PNG');
  expect([png, picture.subarray(1, 4).toString()]).toEqual(['buttons.png', 'PNG']);
  writeFileSync(join(shots, 'shared.png'), picture);
  await page.click('.tunebook-run >> role=button[name="Folder"]');
  await page.waitForSelector(`.jp-DirListing-item >> text=${checkpoint}`);
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('a reload while training finds the run again, by its buttons too; the interrupt button saves; the run resumes', async () => {
  const resume =
    "const result = await trainer.train({ resume_from_checkpoint: true });\nconsole.log('resumed at', trainer.run!.events[0].step);";
  lab.write('long.ipynb', [LOAD, trainCell('long', 100_000), resume]);
  const { page } = await lab.open('long.ipynb');
  await runCells(page, 2);
  await textIs(page, HEADING, /training, step \d{2,} of/);
  await save(page, join(lab.folder, 'long.ipynb'));
  page.once('dialog', (dialog) => dialog.accept());
  await page.reload();
  await kernelIs(page, 'Busy');
  // What was saved is shown; the comm brings what has happened since.
  await page.waitForSelector('.tunebook-run .tunebook-button:enabled', { timeout: 60_000 });
  const seen = Number(((await page.textContent(HEADING)) as string).match(/step (\d+) of/)![1]);
  await page.waitForFunction(
    ([selector, step]) => Number(document.querySelector(selector)?.textContent?.match(/step (\d+) of/)?.[1]) > step,
    [HEADING, seen] as const,
    { timeout: 60_000 },
  );
  await page.screenshot({ path: join(shots, 'reloaded.png') });
  const interrupt = () => page.click('[data-command="notebook:interrupt-kernel"], jp-button[data-command="notebook:interrupt-kernel"]');
  await interrupt();
  await kernelIs(page, 'Idle');
  await textIs(page, HEADING, /stopped and saved/);
  // A fast machine has saved one on the way too.
  const steps = readdirSync(join(lab.folder, 'long')).flatMap((name) =>
    name.startsWith('checkpoint-') ? [Number(name.slice('checkpoint-'.length))] : [],
  );
  const step = Math.max(...steps);
  expect(step).toBeGreaterThan(10);
  await page.click('.jp-Notebook .jp-Cell >> nth=2');
  await page.keyboard.press('Shift+Enter');
  // The stopped run's view stays what it is: one that trains is the resumed run's.
  await page.waitForFunction(
    (selector) => [...document.querySelectorAll(selector)].some(({ textContent }) => /training, step/.test(textContent ?? '')),
    HEADING,
    { timeout: 60_000 },
  );
  await interrupt();
  await page.waitForFunction((s) => document.body.textContent?.includes(`resumed at ${s}`), step, { timeout: 120_000 });
  await page.screenshot({ path: join(shots, 'interrupted.png') });
  await page.close();
});

browserIt('two tabs on one notebook, and a kernel that is restarted: each view says what it shows and how old it is', async () => {
  lab.write('tabs.ipynb', [LOAD, trainCell('tabs', 100_000)]);
  const { page } = await lab.open('tabs.ipynb');
  await runCells(page, 2);
  await textIs(page, HEADING, /training, step \d{2,} of/);
  await save(page, join(lab.folder, 'tabs.ipynb'));
  const second = await lab.open('tabs.ipynb');
  await second.page.waitForSelector('.tunebook-run .tunebook-button:enabled', { timeout: 60_000 });
  await press(second.page, 'Pause', /paused after/);
  await textIs(page, HEADING, /paused, step/);
  await page.click('[data-command="notebook:restart-kernel"], jp-button[data-command="notebook:restart-kernel"]');
  await page.click('.jp-Dialog .jp-mod-accept');
  for (const { page: each } of [{ page }, second]) {
    await textIs(each, '.tunebook-run .tunebook-said', /restarted|does not know/);
    await textIs(each, '.tunebook-run .tunebook-age', /Shown is what was known .* ago/);
    expect(await each.locator('.tunebook-run .tunebook-controls button:enabled').count()).toBe(0);
  }
  await page.screenshot({ path: join(shots, 'restarted.png') });
  await second.page.close();
  await page.close();
});

browserIt('restart and run all; two notebooks train at once; runs of one notebook are compared', async () => {
  lab.write('a.ipynb', [
    LOAD,
    trainCell('a1', 60),
    trainCell('a2', 60, 'seed: 7')
      .replace('const trainer', 'const other')
      .replace('trainer.train', 'other.train')
      .replace('{ model,', "{ model: await AutoModelForCausalLM.from_pretrained('model'),"),
  ]);
  lab.write('b.ipynb', [LOAD, trainCell('b', 60)]);
  const [a, b] = [await lab.open('a.ipynb'), await lab.open('b.ipynb')];
  for (const { page } of [a, b]) {
    await kernelIs(page, 'Idle');
    await page.click('[data-command="notebook:restart-run-all"], jp-button[data-command="notebook:restart-run-all"]');
    await page.click('.jp-Dialog .jp-mod-accept');
  }
  await textIs(b.page, HEADING, /b: finished, step 60 of 60/);
  await a.page.waitForFunction(
    () =>
      [...document.querySelectorAll('.tunebook-heading')].filter((node) => /finished, step 60 of 60/.test(node.textContent ?? ''))
        .length === 2,
    undefined,
    { timeout: 120_000 },
  );
  const last = a.page.locator('.tunebook-run').last();
  await last.scrollIntoViewIfNeeded();
  await expect.poll(() => last.locator('.legendtext').allTextContents(), { timeout: 20_000 }).toContain('run before: a1');
  await last.locator('text=Compare').click();
  await a.page.screenshot({ path: join(shots, 'compared.png') });
  await last.locator('.tunebook-choices input').uncheck();
  await expect.poll(() => last.locator('.legendtext').allTextContents()).not.toContain('run before: a1');
  await a.page.close();
  await b.page.close();
});

browserIt('the adapter inspector opens from the file browser, and its cells select', async () => {
  const folder = readdirSync(join(lab.folder, 'out')).find((name) => name.startsWith('checkpoint-')) as string;
  lab.write('empty.ipynb', ['1']);
  const { page, errors } = await lab.open('empty.ipynb');
  await page.evaluate(
    (path) => (window as any).jupyterapp.commands.execute('docmanager:open', { path }),
    `out/${folder}/adapter_model.safetensors`,
  );
  await page.waitForSelector('.tunebook-adapter .tunebook-chart svg', { timeout: 60_000 });
  expect(await page.textContent('.tunebook-adapter')).toContain('LORA beside 14 modules of model');
  expect(await page.textContent('.tunebook-adapter')).not.toContain('adapter_config.json is not at hand');
  await page.locator('.tunebook-adapter .mark-rect.role-mark path').nth(3).click();
  await textIs(page, '.tunebook-adapter', /model\.layers\.0\.self_attn\.k_proj has an update of norm .* uses \d of its 2 directions/);
  await page.click('role=tab[name="For experts"]');
  await page.selectOption('.tunebook-adapter select', 'model.layers.1.mlp.down_proj');
  await textIs(page, '.tunebook-adapter', /model\.layers\.1\.mlp\.down_proj has an update/);
  // The base is found by a kernel: by the name that the adapter gives, or the one that the reader gives.
  const ask = 'Compare with the base model';
  const said = '.tunebook-document .tunebook-said';
  await textIs(page, said, /It is not on this machine/);
  await page.fill('.tunebook-document .tunebook-controls input', 'nowhere/at-all');
  await page.click(`role=button[name="${ask}"]`);
  await textIs(page, said, /cannot be read: .*nowhere\/at-all/);
  await page.fill('.tunebook-document .tunebook-controls input', join(lab.folder, 'model'));
  await page.click(`role=button[name="${ask}"]`);
  await textIs(page, '.tunebook-document', /parameters trained[\d,]+ of [\d,]+ \(\d+\.\d{4} %\)/);
  await textIs(page, '.tunebook-adapter', /changes its weight by [\d.]+ %/);
  await page.screenshot({ path: join(shots, 'inspector.png') });
  expect(
    await page.locator('.tunebook-document >> role=tab[name="For experts"]').getAttribute('aria-selected'),
    'its page stays open',
  ).toBe('true');
  // One that names a base that is at hand needs not be asked about.
  cpSync(join(lab.folder, 'out', folder), join(lab.folder, 'named'), { recursive: true });
  const config = join(lab.folder, 'named/adapter_config.json');
  const settings = JSON.parse(readFileSync(config, 'utf8'));
  writeFileSync(config, JSON.stringify({ ...settings, base_model_name_or_path: join(lab.folder, 'model') }));
  await page.evaluate(
    (path) => (window as any).jupyterapp.commands.execute('docmanager:open', { path }),
    'named/adapter_model.safetensors',
  );
  await page
    .locator('.tunebook-document', { hasText: 'named/adapter_model' })
    .locator('text=/changes its weight by [0-9.]+ %/')
    .waitFor({ timeout: 60_000 });
  expect(errors).toEqual([]);
  await page.close();
});

browserIt('an exported notebook shows picture and table without our extension', async () => {
  const convert = spawnSync(join(root, '.venv/bin/jupyter'), ['nbconvert', '--to', 'html', join(lab.folder, 'train.ipynb')], {
    encoding: 'utf8',
  });
  expect(convert.status, convert.stderr).toBe(0);
  const page = await lab.browser.newPage({ viewport: { width: 1000, height: 900 }, javaScriptEnabled: false });
  await page.goto(`file://${join(lab.folder, 'train.html')}`);
  const picture = page.locator('img[alt^="Loss of the run"]');
  expect(await picture.count()).toBe(1);
  expect((await picture.boundingBox())!.width).toBeGreaterThan(600);
  await picture.scrollIntoViewIfNeeded();
  expect(await page.locator('th', { hasText: 'status' }).count()).toBeGreaterThan(0);
  await page.screenshot({ path: join(shots, 'exported.png') });
  await page.close();
});

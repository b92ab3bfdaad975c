import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseSweep, SWEEP_MIME } from '../../views/src';
import { executablePath, kernelIs, LOAD, runCells, save, shots, textIs, useLab } from './lab';

const lab = useLab();
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const SWEEP = `import { sweep } from 'tunebook';
const found = await sweep({
  base: { model, processing_class: tokenizer, train_dataset: train, eval_dataset: train.select([0, 1]), peft_config: new LoraConfig({ r: 2, target_modules: ['q_proj'] }),
    args: new SFTConfig({ output_dir: 'ranks', max_steps: 100000, per_device_train_batch_size: 4, eval_strategy: 'steps', eval_steps: 20, learning_rate: 1e-2, assistant_only_loss: true }) },
  vary: { r: [4, 16], learning_rate: [1e-3, 1e-2] },
});
console.log('best', found.best?.name);`;
const HEADING = '.tunebook-run .tunebook-heading';

it.skipIf(!executablePath)('a sweep draws all its runs in one view; a run is stopped from there, and the next begins', async () => {
  lab.write('sweep.ipynb', [LOAD, SWEEP]);
  const { page, errors } = await lab.open('sweep.ipynb');
  await runCells(page, 2);

  await textIs(page, HEADING, /0 of 4 runs are over/);
  await page.waitForSelector('.tunebook-run .tunebook-chart svg', { timeout: 60_000 });
  const stop = '.tunebook-sweep >> role=button[name="Stop"]';
  await page.click(stop);
  await textIs(page, HEADING, /1 of 4 runs are over; best: r=4, learning_rate=0.001/);
  const first = page.locator('.tunebook-sweep tbody tr').first();
  expect(await first.locator('td').allTextContents()).toEqual(expect.arrayContaining(['4', '0.001', 'stopped, best']));
  await page.click('.tunebook-sweep >> role=button[name="2"]');
  expect(await page.locator('.tunebook-sweep .tunebook-chosen').count()).toBe(1);
  for (const name of [/2 of 4/, /3 of 4/, /finished: 4 of 4/]) {
    await page.waitForTimeout(1500); // some of its curve
    await page.click(stop);
    await textIs(page, HEADING, name);
  }
  expect(await page.locator('.tunebook-run').count(), 'one view for all runs').toBe(1);
  await kernelIs(page, 'Idle');
  expect((await page.locator('.jp-OutputArea-output').allTextContents()).join(' ')).toMatch(/best r=\d+, learning_rate=/);
  const looks = async (theme: string, width: number) => {
    await page.setViewportSize({ width, height: 1000 });
    await page.evaluate((name) => (window as any).jupyterapp.commands.execute('apputils:change-theme', { theme: name }), theme);
    await page.waitForTimeout(1500);
    await page.locator(HEADING).scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(shots, `sweep-${theme.split(' ')[1].toLowerCase()}-${width}.png`) });
    await page.evaluate(axe);
    const { violations } = await page.evaluate((s) => (window as any).axe.run(s), '.tunebook-run');
    expect(violations.flatMap((v: any) => v.nodes.map((node: any) => `${v.id}: ${node.html.slice(0, 200)}`))).toEqual([]);
  };
  for (const theme of ['JupyterLab Light', 'JupyterLab Dark']) for (const width of [900, 1500]) await looks(theme, width);
  await save(page, join(lab.folder, 'sweep.ipynb'));
  const outputs = JSON.parse(readFileSync(join(lab.folder, 'sweep.ipynb'), 'utf8')).cells.flatMap(
    (cell: { outputs: any[] }) => cell.outputs,
  );
  const bundle = outputs.find((o: any) => o.data?.[SWEEP_MIME]).data;
  expect(Object.keys(bundle).sort()).toEqual([SWEEP_MIME, 'image/png', 'text/html', 'text/plain']);
  expect(parseSweep(bundle[SWEEP_MIME])).toMatchObject({ status: 'finished', vary: ['r', 'learning_rate'] });
  expect(errors).toEqual([]);
  await page.close();
});

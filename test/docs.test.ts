import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { target } from '../extension/src/api_links';
import * as tunebook from '../src';

const root = resolve(__dirname, '..');
const page = (path: string) => readFileSync(join(root, 'docs/api', path), 'utf8');

it('docs/api is what the docstrings make', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], { cwd: root, encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});

it('every public class and function has a page, with its options and the notebooks that use it', () => {
  const index = page('README.md');
  for (const name of Object.keys(tunebook))
    expect(index, name).toMatch(new RegExp(`\\[${name.replaceAll('_', '\\\\_')}\\]\\((classes|functions|modules)/${name}\\.md\\)`));
  expect(page('classes/SFTConfig.md')).toMatch(/`learning_rate` \| `number` \| The peak of the learning rate.* Default: 2e-5\./);
  expect(page('classes/SFTConfig.md')).toContain('[01-first-fine-tune.ipynb](../../../notebooks/01-first-fine-tune.ipynb)');
});

it.each([
  ['classes/SFTConfig.md', '../README.md', { page: 'README.md' }],
  ['README.md', 'functions/load_dataset.md#options', { page: 'functions/load_dataset.md', anchor: 'options' }],
  ['classes/A.md', '../../../notebooks/01-first-fine-tune.ipynb', { notebook: 'notebooks/01-first-fine-tune.ipynb' }],
  ['classes/A.md', '../../../../../../etc/a.ipynb', { notebook: 'etc/a.ipynb' }],
  ['classes/A.md', 'https://example.org/a.md', undefined],
  ['classes/A.md', 'javascript:alert(1)', undefined],
  ['classes/A.md', '#Class:-A', { page: 'classes/A.md', anchor: 'class-a' }],
  ['classes/A.md', '#learning_rate', { page: 'classes/A.md', anchor: 'learning_rate' }],
  ['classes/A.md', '../../architecture.md', undefined],
])('on %s the link %s leads to %o', (from, href, to) => expect(target(from, href)).toEqual(to));

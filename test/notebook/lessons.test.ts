// The notebooks that teach run from top to bottom with fewer steps, with all that they claim; as they are kept they read well without being run.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const root = resolve(__dirname, '../..');

interface Cell {
  cell_type: string;
  source: string | string[];
  metadata: { tags?: string[] };
  outputs?: { output_type: string; data?: Record<string, unknown> }[];
}
const cellsOf = (path: string): Cell[] => JSON.parse(readFileSync(path, 'utf8')).cells;

/** By name: what the cell with the tag 'parameters' is set to here. */
const NOTEBOOKS: Record<string, object> = {
  '03-lora-from-scratch': { steps: 5 },
};

it.each(Object.entries(NOTEBOOKS))('%s runs, and what it claims holds', (name, parameters) => {
  const made = join(root, 'test-results', `${name}.ipynb`);
  mkdirSync(dirname(made), { recursive: true });
  const bin = join(root, '.venv', 'bin');
  const args = [join(root, 'scripts/execute.py'), join(root, 'notebooks', `${name}.ipynb`), made, 'tunebook', JSON.stringify(parameters)];
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  const { status, stdout, stderr } = spawnSync(join(bin, 'python'), args, { encoding: 'utf8', env });
  expect(status, stdout.slice(-1000) + stderr.slice(-2000)).toBe(0);
  const cells = cellsOf(made).filter(({ cell_type }) => cell_type === 'code');
  expect(
    cells.some(({ source }) =>
      [source]
        .flat()
        .join('')
        .includes(JSON.stringify(Object.values(parameters)[0])),
    ),
  ).toBe(true);
  expect(cells.filter(({ metadata }) => metadata.tags?.includes('claim')).length).toBeGreaterThan(2);
});

it.each(Object.keys(NOTEBOOKS))('%s has outputs, pictures for readers without the extension, and links that lead somewhere', (name) => {
  const path = join(root, 'notebooks', `${name}.ipynb`);
  const cells = cellsOf(path);
  const code = cells.filter(({ cell_type }) => cell_type === 'code');
  const outputs = code.flatMap(({ outputs = [] }) => outputs);
  expect(outputs.filter(({ output_type }) => output_type === 'error')).toEqual([]);
  expect(outputs.some(({ data }) => data?.['image/png'])).toBe(true);
  expect(readFileSync(path, 'utf8')).not.toMatch(/\/(home|root|tmp|Users|work)\//);
  const text = cells.filter(({ cell_type }) => cell_type === 'markdown').map(({ source }) => [source].flat().join(''));
  expect(text.at(-1)).toContain('What you can now do');
  for (const [, link] of text.join('\n').matchAll(/\]\((?!https?:)([^)#]+)\)/g))
    expect(existsSync(join(root, 'notebooks', link)), link).toBe(true);
});

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { scratch } from '../tiny';

const root = resolve(__dirname, '../..');

const { nodes } = await import('../../scripts/nodes.mjs' as string);

it.skipIf(!nodes().length)('the first notebook runs from top to bottom on the oldest and the newest Node', async () => {
  const { writeKernelspec } = await import('../../scripts/kernelspec.mjs' as string);
  for (const { version, path } of [nodes().at(0), nodes().at(-1)]) {
    const [jupyter, out] = [scratch('jupyter'), join(scratch('out'), 'executed.ipynb')];
    writeKernelspec(join(jupyter, 'kernels', `node-${version}`), path);
    const args = [join(root, 'scripts/execute.py'), join(root, 'notebooks/01-first-fine-tune.ipynb'), out, `node-${version}`];
    const result = spawnSync(join(root, '.venv/bin/python'), args, {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      env: { ...process.env, JUPYTER_PATH: jupyter },
    });
    expect(result.status, `Node ${version}\n${result.stdout.slice(-2000)}${result.stderr.slice(-2000)}`).toBe(0);
    const [, before, after] = result.stdout.match(/^perplexity\s+([\d.]+)\s+([\d.]+)/m)!.map(Number);
    expect(after, `Node ${version}`).toBeLessThan(0.75 * before);
    const { cells } = JSON.parse(readFileSync(out, 'utf8'));
    const kinds = cells.flatMap((cell: { outputs?: { output_type: string }[] }) => cell.outputs?.map((output) => output.output_type) ?? []);
    expect(kinds).not.toContain('error');
  }
});

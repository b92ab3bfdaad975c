import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect } from 'vitest';

const root = resolve(__dirname, '../..');

/** Runs tests that are written in Python, since they use Jupyter's own client; returns what unittest said. */
export async function runPython(file: string, names: string[] = [], env: Record<string, string> = {}): Promise<string> {
  const child = spawn(join(root, '.venv-test/bin/python'), [join(__dirname, file), ...names], {
    env: { ...process.env, JUPYTER_PATH: process.env.JUPYTER_PATH ?? join(root, '.venv/share/jupyter'), ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const code = await new Promise((done) => child.on('exit', done));
  expect(code, said.slice(-8000)).toBe(0);
  return said;
}

import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const root = resolve(__dirname, '../..');

/** Tests that are written in Python, since they use Jupyter's own client: unittest says what went wrong. */
for (const [file, what] of [
  ['conformance.py', "the Jupyter project's tests of kernels pass"],
  ['behaviour.py', 'cells, types, modules, output, interrupts, comms, deaths: what the kernel promises'],
])
  it(what, async () => {
    const child = spawn(join(root, '.venv-test/bin/python'), [join(__dirname, file)], {
      env: { ...process.env, JUPYTER_PATH: join(root, '.venv/share/jupyter') },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    const code = await new Promise((done) => child.on('exit', done));
    expect(code, said.slice(-8000)).toBe(0);
    expect(said).toMatch(/Ran \d+ tests/);
  });

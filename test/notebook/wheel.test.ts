import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { scratch } from '../tiny';

const root = resolve(__dirname, '../..');

function run(command: string, args: string[], env: Record<string, string> = {}): string {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', env: { ...process.env, ...env } });
  expect(result.status, `${command} ${args.join(' ')}\n${result.stdout.slice(-2000)}${result.stderr.slice(-3000)}`).toBe(0);
  return result.stdout + result.stderr;
}

it('the wheel gives a clean environment kernel and extension, and takes both away again', () => {
  const [wheels, place] = [scratch('wheel'), scratch('clean')];
  run(process.execPath, ['scripts/wheel.mjs', wheels]);
  const [wheel] = readdirSync(wheels);
  expect(wheel).toBe('tunebook-0.1.0-py3-none-any.whl');
  const clean = join(place, 'venv');
  run(join(root, '.venv/bin/python'), ['-m', 'venv', clean]);
  const pip = join(clean, 'bin/pip');
  run(pip, ['install', '--quiet', '--disable-pip-version-check', '--no-index', join(wheels, wheel)]);
  // JupyterLab from elsewhere, looking only at what the wheel has brought.
  const jupyter = join(root, '.venv-test/bin/jupyter');
  const env = { JUPYTER_PATH: join(clean, 'share/jupyter'), JUPYTER_CONFIG_DIR: scratch('config') };
  expect(run(jupyter, ['kernelspec', 'list'], env)).toContain(join(clean, 'share/jupyter/kernels/tunebook'));
  expect(run(jupyter, ['labextension', 'list'], env)).toMatch(/@tunebook\/jupyterlab v0\.1\.0.*enabled.*OK.*\(python, tunebook\)/s);
  // The launcher finds the kernel that npm installed, and cells run.
  const ask = `
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="tunebook")
reply = client.execute_interactive("[1, 2].map((x) => x * 2)", timeout=60, output_hook=lambda m: print(m["msg_type"], m["content"].get("data", {}).get("text/plain")))
print(reply["content"]["status"])
manager.shutdown_kernel(now=True)
`;
  const said = run(join(root, '.venv-test/bin/python'), ['-c', ask], { ...env, TUNEBOOK_KERNEL: join(root, 'kernel/lib/main.js') });
  expect(said).toContain('execute_result [ 2, 4 ]');
  // Without it, it says what to do.
  const lost = spawnSync(process.execPath, [join(clean, 'share/jupyter/kernels/tunebook/launch.cjs'), 'x.json'], {
    cwd: place,
    encoding: 'utf8',
    env: { ...process.env, TUNEBOOK_KERNEL: '', npm_config_prefix: place },
  });
  expect([lost.status, lost.stderr]).toEqual([1, expect.stringContaining('npm install -g tunebook tunebook-kernel')]);
  run(pip, ['uninstall', '--quiet', '--yes', 'tunebook']);
  const left = readdirSync(clean, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && /tunebook/.test(entry.parentPath.slice(clean.length)),
  );
  expect(left.map(({ name }) => name)).toEqual([]);
});

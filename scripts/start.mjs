// npm start: sets everything up and opens JupyterLab on the first notebook.
// npm start -- --headless: executes that notebook instead and prints its final table.
// --with-tslab: installs the stock tslab kernel too; with --headless, the notebook is executed in that one.
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeTslabKernelspec } from './kernelspec.mjs';
import { checkMachine, main, root, SetupError, setUp } from './setup.mjs';

const NOTEBOOK = 'notebooks/01-first-fine-tune.ipynb';

/** Runs a program with our terminal and returns its exit code. */
const foreground = (command, args, options = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit', cwd: root, ...options });
    process.on('SIGINT', () => {}); // the terminal sends it to the child as well
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(signal ? 130 : code));
  });

/** A copy of a notebook for its reader to run and change; the one there is kept. What came with the clone stays as it is. */
function ownCopy(notebook) {
  const own = join('notebooks', 'mine', basename(notebook));
  mkdirSync(join(root, 'notebooks', 'mine'), { recursive: true });
  if (!existsSync(join(root, own))) copyFileSync(join(root, notebook), join(root, own));
  return own;
}

const isFree = (port) =>
  new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

await main(async () => {
  const { values } = parseArgs({
    options: {
      headless: { type: 'boolean', default: false },
      'no-browser': { type: 'boolean', default: false },
      'setup-only': { type: 'boolean', default: false },
      'with-tslab': { type: 'boolean', default: false },
      port: { type: 'string' },
    },
  });
  checkMachine();
  if (values.port && !(await isFree(Number(values.port))))
    throw new SetupError(`Port ${values.port} is in use. Choose another: npm start -- --port ${Number(values.port) + 1}`);
  await setUp(['dependencies', 'native', 'build', 'jupyter', 'extension', 'model', 'selftest']);
  if (values['with-tslab']) writeTslabKernelspec(join(root, '.venv/share/jupyter/kernels'));
  if (values['setup-only']) return 0;
  const bin = join(root, '.venv', 'bin');
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  if (values.headless) {
    console.log(`\nExecuting ${NOTEBOOK}`);
    const kernel = values['with-tslab'] ? 'tslab' : 'tunebook';
    const output = join(root, 'notebooks', 'out', `01-first-fine-tune.${kernel === 'tslab' ? 'tslab' : 'executed'}.ipynb`);
    mkdirSync(join(root, 'notebooks', 'out'), { recursive: true });
    return foreground(join(bin, 'python'), [join(root, 'scripts/execute.py'), join(root, NOTEBOOK), output, kernel], { env });
  }
  const notebook = ownCopy(NOTEBOOK);
  const args = [notebook];
  if (values['no-browser']) args.push('--no-browser');
  if (values.port) args.push('--port', values.port);
  // Containers run as root, which Jupyter refuses without being told.
  if (process.getuid?.() === 0) args.push('--allow-root');
  console.log(`\nOpening JupyterLab on ${notebook}, your own copy (Ctrl+C twice ends it)`);
  return foreground(join(bin, 'jupyter-lab'), args, { env });
});

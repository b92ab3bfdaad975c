// Set-up's last stage: something small through every part that is there, in processes of their own, so that a broken machine is found
// here with a sentence and not in a notebook's second cell.
'use strict';
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { TRIED } = require('./node.cjs');
const native = require('./native.cjs');

const { root, SetupError } = native;
const again = 'then run the same command again';
const about = () => `Node ${process.versions.node}, ${process.platform}-${process.arch}, ${native.instructionSet()}`;

/** What to do about a part that failed, by what is known of the cause. */
function remedy(part, { signal, cause }) {
  if (signal === 'SIGILL' && part !== 'library' && part !== 'pictures')
    return 'This CPU lacks instructions that the engine was built for: set TUNEBOOK_ISA=base (for set-up and for all that you run).';
  if (signal === 'SIGKILL') return `The system ended it, most likely for want of memory: close other programs, ${again}.`;
  if (part === 'JupyterLab') return `Delete ${path.join(root, '.venv')}, ${again}: the Python environment is made anew.`;
  if (/GLIBC(XX)?_/.test(cause))
    return `An older C or C++ library stands before the system's, as in conda environments or by LD_LIBRARY_PATH: leave these, ${again}.`;
  if (part === 'engine')
    return `Delete ${native.addonFolder()} (and ${native.libraryFolder()}, if that does not help), ${again}: it is made anew.`;
  if (/ERR_DLOPEN_FAILED|\.node\b/.test(cause)) return `Delete node_modules and install again (\`npm ci\` in a clone), ${again}.`;
  return `If Node is not one of the versions ${TRIED.join(', ')}, install one of these; if it is, please report this (${about()}).`;
}

function failure(part, how) {
  const lines = how.cause.split('\n').filter((line) => line.trim() && !/\(?node:internal|^Node\.js v/.test(line));
  const cause = lines.slice(-12).join('\n  ').trim();
  return new SetupError(`The self-test failed: ${PARTS[part]}. ${remedy(part, how)}\n  ${cause}`);
}

const PARTS = {
  library: 'the library does not load',
  engine: 'the native engine does not start',
  TensorFlow: 'TensorFlow computes wrong values or none',
  model: 'a small model does not compute what it has to',
  training: 'a small model could not be trained',
  pictures: 'pictures cannot be drawn',
  kernel: 'a cell in the notebook kernel does not run',
  JupyterLab: 'JupyterLab does not start',
};

/** Runs a program to its end, or for `seconds`; what it printed, and how it ended. */
function output(command, args, { seconds = 300, ...options } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let [stdout, stderr] = ['', ''];
    const late = setTimeout(() => {
      stderr += `\nIt did not end within ${seconds} s.`;
      child.kill('SIGTERM');
    }, seconds * 1000);
    child.stdout.on('data', (data) => {
      stdout += data;
    });
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    const end = (code, signal) => {
      clearTimeout(late);
      resolve({ code, signal, stdout, stderr });
    };
    child.on('error', (error) => {
      stderr += error.message;
      end(-1, null);
    });
    child.on('close', end);
  });
}

/** What set-up has built, and no fallback. */
const backend = () => (process.env.TUNEBOOK_BACKEND === 'gpu' ? 'gpu' : 'tensorflow');
const env = () => ({ ...process.env, TUNEBOOK_BACKEND: backend() });

/** lib/selftest.js: the parts of the library. */
async function testLibrary() {
  const program = path.join(root, 'lib', 'selftest.js');
  const { code, signal, stdout, stderr } = await output(process.execPath, [program], { env: env() });
  if (code === 0) return;
  const part = [...stdout.matchAll(/^part: (\w+)$/gm)].at(-1)?.[1] ?? 'library';
  const said = stdout.match(/^failed: (.*)$/m);
  const cause = said ? JSON.parse(said[1]) : `${stderr}\nIt ended with ${signal ?? `exit code ${code}`}.`;
  throw failure(part, { signal, cause });
}

/** The kernel's folder, in a clone or beside the published library, and how Jupyter starts it; undefined where there is none. */
function findKernel() {
  const places = [path.join(root, 'kernel'), path.join(root, '..', 'tunebook-kernel')];
  const kernel = places.find((place) => fs.existsSync(path.join(place, 'lib', 'main.js')));
  if (!kernel) return undefined;
  const spec = path.join(root, '.venv', 'share', 'jupyter', 'kernels', 'tunebook', 'kernel.json');
  const { argv } = fs.existsSync(spec)
    ? JSON.parse(fs.readFileSync(spec, 'utf8'))
    : { argv: [process.execPath, path.join(kernel, 'lib', 'main.js'), '{connection_file}'] };
  return { kernel, argv };
}

/** A cell that starts the library's engine. */
async function testKernel() {
  const found = findKernel();
  if (!found) return;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tunebook-selftest-'));
  try {
    const { runCell } = require('./kernel_cell.cjs');
    const code = "import { startBackend } from 'tunebook';\nconst { name }: { name: string } = await startBackend();\nname";
    const value = await runCell({ ...found, folder, code, env: env() });
    if (value !== `'${backend()}'`) throw new Error(`The cell's value is ${value} and not '${backend()}'.`);
  } catch (error) {
    throw failure('kernel', { cause: error.message });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function testJupyter() {
  const python = path.join(root, '.venv', 'bin', 'python');
  if (!fs.existsSync(path.join(root, '.venv'))) return;
  const { code, stderr } = await output(python, ['-c', 'import jupyterlab.labapp, nbclient']);
  if (code !== 0) throw failure('JupyterLab', { cause: stderr });
}

/** Tests what is there: the library, the kernel, JupyterLab. A SetupError says what is broken and what to do. */
async function selfTest() {
  await testLibrary();
  await Promise.all([testKernel(), testJupyter()]);
}

module.exports = { selfTest };

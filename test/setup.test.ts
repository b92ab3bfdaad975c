import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { scratch } from './tiny';

const root = resolve(__dirname, '..');

/** Runs npm start's script with only the named programs on the PATH. */
function start(programs: string[], args: string[] = ['--setup-only']) {
  const bin = scratch('bin');
  for (const name of programs) {
    const found = spawnSync('which', [name], { encoding: 'utf8' }).stdout.trim();
    if (found) symlinkSync(found, join(bin, name));
  }
  return spawnSync(process.execPath, [join(root, 'scripts/start.mjs'), ...args], {
    encoding: 'utf8',
    env: { ...process.env, PATH: bin, CXX: '', TUNEBOOK_PYTHON: '' },
  });
}

it('a missing Python or compiler is one sentence with the remedy', () => {
  const noPython = start([]);
  expect(noPython.status).toBe(1);
  expect(noPython.stderr.trim()).toMatch(/^Python 3\.10 or later was not found\. Install it .*apt install python3.*same command again\.$/);
  const python = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).stdout.trim();
  const bin = scratch('bin');
  symlinkSync(python, join(bin, 'python3'));
  const noCompiler = spawnSync(process.execPath, [join(root, 'scripts/start.mjs'), '--setup-only'], {
    encoding: 'utf8',
    env: { ...process.env, PATH: bin, CXX: '' },
  });
  expect(noCompiler.status).toBe(1);
  expect(noCompiler.stderr.trim()).toMatch(/^A C\+\+ compiler was not found\. Install one .*apt install g\+\+.*same command again\.$/);
});

it('a port in use is one sentence with the remedy', async () => {
  const server = createServer();
  const port = await new Promise<number>((done) => server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)));
  // spawnSync would keep this process's listener from nothing: the port is bound either way.
  const result = spawnSync(process.execPath, [join(root, 'scripts/start.mjs'), '--port', String(port)], { encoding: 'utf8' });
  server.close();
  expect(result.status).toBe(1);
  expect(result.stderr.trim()).toBe(`Port ${port} is in use. Choose another: npm start -- --port ${port + 1}`);
});

it('a damaged download is refused, named, and leaves nothing behind', () => {
  const cache = scratch('cache');
  const script = `
    const n = require(${JSON.stringify(join(root, 'scripts/native.cjs'))});
    n.downloadWheel(n.findPython(), 'six', '1.16.0', { sha256: '${'0'.repeat(64)}' }).then(() => process.exit(3), (e) => { console.error(e.constructor.name + ': ' + e.message); process.exit(1); });`;
  const result = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env: { ...process.env, TUNEBOOK_CACHE: cache } });
  expect(result.status).toBe(1);
  expect(result.stderr).toMatch(/SetupError: Downloading six 1\.16\.0 failed .*run the same command again/);
  expect(existsSync(join(cache, 'wheels')) ? readdirSync(join(cache, 'wheels')) : []).toEqual([]);
});

it('an unpacking that breaks off leaves nothing that looks whole', () => {
  const cache = scratch('cache');
  mkdirSync(join(cache, 'wheels'), { recursive: true });
  const script = `
    const n = require(${JSON.stringify(join(root, 'scripts/native.cjs'))});
    n.unpackWheel(n.findPython(), ${JSON.stringify(join(cache, 'missing.whl'))}, ['a'], ${JSON.stringify(join(cache, 'target'))}).then(() => process.exit(3), (e) => { console.error(e.message); process.exit(1); });`;
  const result = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  expect(result.status).toBe(1);
  expect(result.stderr).toMatch(/Unpacking missing\.whl failed/);
  expect(readdirSync(cache)).toEqual(['wheels']);
});

const { nodes } = await import('../scripts/nodes.mjs' as string);

it.skipIf(!nodes().length)('a Node for the tests that is not the pinned one is refused, and leaves nothing behind', () => {
  const [cache, bin] = [scratch('cache'), scratch('bin')];
  // npm as a registry gives it that was tampered with: `npm pack --silent --pack-destination FOLDER NAME`
  writeFileSync(join(bin, 'npm'), '#!/bin/sh\necho something else > "$4/node.tgz"\n', { mode: 0o755 });
  const script = `import(${JSON.stringify(join(root, 'scripts/nodes.mjs'))})
    .then(({ fetchNodes }) => fetchNodes())
    .catch((error) => console.log(error.constructor.name + ': ' + error.message));`;
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, TUNEBOOK_CACHE: cache };
  const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env });
  expect(stdout).toMatch(
    /^SetupError: Downloading Node 20\.\d+\.\d+: the package is not the one that was published .*run the same command again\.\n$/,
  );
  expect(readdirSync(cache)).toEqual([]);
});

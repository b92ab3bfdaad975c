import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { addonFolder, libraryFolder } from '../scripts/native.cjs';
import { scratch } from './tiny';

const root = resolve(__dirname, '..');

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}
/** Runs a program of ours on the Node that runs the tests. */
function node(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (data) => {
      said[name] += data;
    });
  return new Promise((done) => child.on('close', (code) => done({ ...said, code: code ?? -1 })));
}

/** `npx tunebook setup`, with a module that each of its processes loads first. */
function setUp(preload = '', env: Record<string, string> = {}): Promise<Ended> {
  const file = join(scratch('preload'), 'preload.cjs');
  writeFileSync(file, preload);
  return node(['scripts/cli.cjs', 'setup'], { NODE_OPTIONS: `--require ${file}`, ...env });
}

it('goes through every part, and nothing in them is deprecated', async () => {
  const file = join(scratch('warnings'), 'warnings.txt');
  // JupyterLab runs a yarn of its own.
  const record = `if (!process.argv[1]?.includes('.venv')) process.on('warning', (warning) => require('node:fs').appendFileSync(${JSON.stringify(file)}, warning.stack + '\\n'));`;
  expect(await setUp(record, { NODE_PENDING_DEPRECATION: '1' })).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^self-test\nThe native engine is ready \([\w-]+\)\.\n$/),
    stderr: '',
  });
  const warnings = readFileSync(file, 'utf8');
  expect(warnings).not.toMatch(/^\S*DeprecationWarning/m);
  // The process that runs cells has warnings turned off, but they are seen here all the same.
  expect(warnings).toContain('ExperimentalWarning: vm.');
});

describe('a broken part is a sentence with remedy and cause', () => {
  const main = "process.argv[1]?.replaceAll('\\\\', '/')";
  const cases: [string, string, RegExp][] = [
    [
      'a function that this Node lacks',
      "require('node:zlib').deflateSync = undefined;",
      /^The self-test failed: pictures cannot be drawn\. If Node is not one of the versions 20, 22, 24, 26, install one of these; if it is, please report this \(Node .*\)\.\n.*deflateSync\) is not a function/,
    ],
    [
      'wrong numbers',
      'Math.cos = () => 1;',
      /^The self-test failed: a small model does not compute what it has to\. .*\n.*the loss of the plain model is [\d.]+ and not 6\.75616/,
    ],
    [
      'an instruction that the CPU lacks',
      `const { dlopen } = process;
      process.dlopen = (...args) => (args[1].endsWith('tfjs_binding.node') ? process.kill(process.pid, 'SIGILL') : dlopen(...args));`,
      /^The self-test failed: the native engine does not start\. This CPU lacks instructions .* TUNEBOOK_ISA=base .*\n(?:.*\n)*.*It ended with SIGILL\.$/,
    ],
    [
      'too little memory',
      `if (${main}?.endsWith('lib/selftest.js')) require('node:fs').writeFileSync = () => process.kill(process.pid, 'SIGKILL');`,
      /^The self-test failed: a small model .*\. The system ended it, most likely for want of memory/,
    ],
    [
      'a kernel that does not start',
      `if (${main}?.endsWith('kernel/lib/main.js')) throw new Error('no kernel here');`,
      /^The self-test failed: a cell in the notebook kernel does not run\. .*\n(?:.*\n)*.*ended with exit code 1(?:.*\n)*.*no kernel here/,
    ],
    [
      'cells whose process does not start',
      `if (${main}?.endsWith('worker/main.js')) throw new Error('no cells here');`,
      /^The self-test failed: a cell in the notebook kernel does not run\. .*\n(?:.*\n)*.*no cells here/,
    ],
  ];
  it.each(cases)('%s', async (_name, preload, sentence) => {
    const { code, stderr } = await setUp(preload);
    expect(stderr.trim()).toMatch(sentence);
    expect(code).toBe(1);
  });

  it('a damaged addon', async () => {
    const cache = scratch('cache');
    cpSync(addonFolder(), join(cache, basename(addonFolder())), { recursive: true });
    symlinkSync(libraryFolder(), join(cache, basename(libraryFolder())));
    truncateSync(join(cache, basename(addonFolder()), 'tfjs_binding.node'), 5000);
    const { code, stderr } = await setUp('', { TUNEBOOK_CACHE: cache });
    expect(stderr.trim()).toMatch(
      /^The self-test failed: the native engine does not start\. Delete \S+addons-\S+ \(and \S+tensorflow-\S+, if that does not help\), then run the same command again: it is made anew\.\n(?:.*\n)*.*(tfjs_binding\.node: file too short|It ended with SIG\w+\.)$/,
    );
    expect(code).toBe(1);
  });
});

describe('what is vendored', () => {
  let mend: (name: string, text: string) => string;
  beforeAll(async () => {
    ({ mend } = await import('../scripts/vendor.mjs' as string));
  });
  const folder = join(root, 'vendor/tfjs-node/dist');

  it('asks nothing of Node but the byte order and a clock', () => {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'));
    expect(names.length).toBeGreaterThan(150);
    const asked = new Set<string>();
    for (const name of names) {
      const text = readFileSync(join(folder, name), 'utf8');
      for (const [, module] of text.matchAll(/require\(['"]([^'"]+)['"]\)/g)) if (!module.startsWith('.')) asked.add(module);
      for (const [use] of text.matchAll(/\b(os_\d|process)\.\w+|\bBuffer\b/g)) asked.add(use);
      // What a file imports of another is there.
      for (const [, module] of text.matchAll(/require\(['"](\.[^'"]+)['"]\)/g)) createRequire(join(folder, name)).resolve(module);
    }
    expect([...asked].sort()).toEqual(['@tensorflow/tfjs', '@tensorflow/tfjs-core', 'os', 'os_1.endianness', 'process.hrtime']);
  });

  it('refuses what nobody has looked at', () => {
    expect(mend('a.js', 'var util_1 = require("util");\nif ((0, util_1.isNullOrUndefined)(a)) b();')).toBe(
      '// Changed by tunebook (scripts/vendor.mjs): what it imported of Node stands here.\nvar util_1 = { isNullOrUndefined: (value) => value == null };\nif ((0, util_1.isNullOrUndefined)(a)) b();',
    );
    expect(mend('a.js', 'var os_1 = require("os");')).toBe('var os_1 = require("os");');
    for (const [text, what] of [
      ['var util_1 = require("util");\n(0, util_1.isString)(a)', "uses util's isString"],
      ['var util_1 = require("util");\nf(util_1)', "uses util's whole"],
      ['var fs = require("fs");', 'imports fs, which is not vendored'],
      ['const { rmdirSync } = require("fs");', 'has require('],
      ['var a = require("fs").rmdirSync;', 'has require('],
      ['process.binding("fs")', 'has process.binding'],
      ['new Buffer(5)', 'has Buffer'],
      ['import("url")', 'has import('],
    ])
      expect(() => mend('a.js', text)).toThrow(`tfjs-node's a.js ${what}`);
  });
});

describe('which Node', () => {
  const pretend = (version: string, args: string[]) => {
    const file = join(scratch('node'), 'version.cjs');
    writeFileSync(file, `Object.defineProperty(process.versions, 'node', { value: '${version}' });`);
    return node(['--require', file, ...args]);
  };

  it('an old one is refused in a sentence before anything else is read', async () => {
    for (const version of ['12.22.9', '18.19.1', '19.9.0']) {
      const sentence = new RegExp(
        `^Node 20 or later is needed; this is ${version}\\. Install a current one .* and run the same command again\\.\\n$`,
      );
      for (const args of [
        ['-r', './scripts/node.cjs', 'no/such/file.mjs'],
        ['scripts/cli.cjs', 'setup'],
      ])
        expect(await pretend(version, args)).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(sentence) });
    }
    // Such a Node knows nothing that came after 2018, and loads no file that does.
    expect(readFileSync(join(root, 'scripts/node.cjs'), 'utf8')).not.toMatch(/\?\.|\?\?|\|\|=|#\w+\(|\brequire\(|\bimport\b/);
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    for (const [name, command] of Object.entries<string>(scripts))
      if (command.startsWith('node')) expect(command, name).toMatch(/^node -r \.\/scripts\/node\.cjs /);
  });

  it('one that is newer than all that were tried is told so, and used', async () => {
    const note = ['-p', "require('./scripts/node.cjs').untried() ?? 'tried'"];
    for (const version of ['20.0.0', '22.1.0', '23.1.0', '26.10.0']) expect((await pretend(version, note)).stdout).toBe('tried\n');
    expect((await pretend('27.0.0', note)).stdout).toMatch(
      /^Note: tunebook is tested on Node 20, 22, 24, 26; this is 27\.0\.0, which is newer\./,
    );
  });
});

describe('the kernelspec', () => {
  /** What its launcher says where set-up's Node is `pinned` and `onPath` is the PATH. */
  async function launch(pinned: string, onPath: string) {
    const { writeKernelspec } = await import('../scripts/kernelspec.mjs' as string);
    const folder = scratch("kernel's spec");
    writeKernelspec(folder, pinned);
    const { argv } = JSON.parse(readFileSync(join(folder, 'kernel.json'), 'utf8'));
    const [command, ...args] = argv.map((arg: string) => arg.replace('{connection_file}', '/no/such/connection'));
    const child = spawn(command, args, { env: { PATH: onPath }, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (data) => {
      said += data;
    });
    await new Promise((done) => child.on('close', done));
    return said;
  }
  /** Whether the kernel was reached. */
  const reached = /ENOENT.*\/no\/such\/connection/;

  it('starts the Node that set-up ran on, and another one where a version manager took that away', async () => {
    const here = scratch('bin');
    mkdirSync(join(here, "it's"));
    const pinned = join(here, "it's", 'node');
    expect(await launch(process.execPath, '')).toMatch(reached);
    symlinkSync(process.execPath, join(here, 'node'));
    const other = await launch(pinned, here);
    expect(other).toContain(`tunebook: ${pinned} is gone; the kernel runs on ${join(here, 'node')}.`);
    expect(other).toMatch(reached);
    symlinkSync(process.execPath, pinned);
    expect(await launch(pinned, '')).not.toContain('is gone');
    const none = await launch('/no/such/node', '');
    expect(none).toMatch(
      /^tunebook: \/no\/such\/node is gone, and there is no other node on the PATH\. Install Node and run npm start again\.\n$/,
    );
  });
});

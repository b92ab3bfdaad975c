// npm test: sets up what the tests need, runs all of them, and ends with the totals.
// npm run test:fast: only what needs no Python peer, no browser and no notebook. npm run test:nodes: that and the kernel's tests on
// every other Node that we test on, which npm test does too. npm run test:deep: everything and the long runs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import process from 'node:process';
import { writeKernelspec } from './kernelspec.mjs';
import { nodes, otherNodes } from './nodes.mjs';
import { checkMachine, findChromium, main, root, setUp } from './setup.mjs';

const DEEP = ['test/deep/**'];
const PEERS = ['test/interop/**', 'test/notebook/**', 'test/pack.test.ts'];
const SLOW = [...PEERS, 'test/kernel/**'];
/** Where the readers are not what is looked for. */
const FEW = { TUNEBOOK_FUZZ_ROUNDS: '300' };
const STAGES = {
  all: [
    'dependencies',
    'native',
    'build',
    'model',
    'jupyter',
    'extension',
    'selftest',
    'peers',
    'vocabularies',
    'datasets',
    'gemma',
    'chromium',
    'nodes',
  ],
  fast: ['dependencies', 'native', 'build', 'model', 'selftest'],
  nodes: ['dependencies', 'native', 'build', 'model', 'jupyter', 'selftest', 'nodes'],
};
const tier = process.argv[2] ?? 'all';
const totals = { passed: 0, failed: 0, skipped: 0 };

function check(name, command, args, env = {}) {
  console.log(`\n== ${name}`);
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } }).status === 0;
}

const one = (ok) => totals[ok ? 'passed' : 'failed']++;
const bin = (path, ...args) => [process.execPath, [join(root, 'node_modules', path), ...args]];

/** Runs the test files that are not left out on a Node, and adds to the totals. */
function vitest(name, node, left, env, reporter = ['--reporter=default']) {
  const report = join(root, 'test-results', 'vitest.json');
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  const exclude = left.flatMap((pattern) => ['--exclude', pattern]);
  const args = ['run', ...reporter, '--reporter=json', `--outputFile=${report}`, ...exclude];
  check(name, node, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], env);
  if (!existsSync(report)) return one(false);
  const result = JSON.parse(readFileSync(report, 'utf8'));
  totals.passed += result.numPassedTests;
  totals.failed += result.numFailedTests + (result.numFailedTests === 0 && !result.success ? 1 : 0);
  totals.skipped += result.numPendingTests + result.numTodoTests;
}

/** The quick tier and the kernel's tests on another Node; those with Jupyter's own client in the deep tier alone. */
function onNode({ version, path }) {
  const jupyter = join(root, 'test-results', `node-${version}`);
  writeKernelspec(join(jupyter, 'kernels', 'tunebook'), path);
  const left = [...PEERS, ...DEEP, ...(tier === 'deep' ? [] : ['test/kernel/python.test.ts'])];
  const env = { ...FEW, PATH: `${dirname(path)}${delimiter}${process.env.PATH}`, JUPYTER_PATH: jupyter };
  vitest(`quick tier and kernel on Node ${version}`, path, left, env, ['--reporter=dot', '--silent=passed-only']);
}

await main(async () => {
  checkMachine();
  await setUp(STAGES[tier] ?? STAGES.all);
  if (tier === 'setup') return 0;
  if (tier !== 'nodes') {
    one(check('lint and format', ...bin('@biomejs/biome/bin/biome', 'check', '.')));
    one(check('types of the tests', ...bin('typescript/bin/tsc', '-p', 'test')));
    const left = [...(tier === 'fast' ? SLOW : []), ...(tier === 'deep' ? [] : DEEP)];
    vitest('tests', process.execPath, left, { ...(tier === 'fast' ? FEW : {}), TUNEBOOK_CHROMIUM: findChromium() ?? '' });
  }
  if (tier !== 'fast') {
    if (!nodes().length) console.log('\nnpm has no other Node for this platform: all ran on this one alone.');
    for (const other of otherNodes()) onNode(other);
  }
  if (tier === 'deep') {
    one(check('sanitizers', process.execPath, [join(root, 'scripts/sanitize.mjs')]));
    one(check('sanitizers, plain instruction set', process.execPath, [join(root, 'scripts/sanitize.mjs')], { TUNEBOOK_ISA: 'base' }));
  }
  console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
  return totals.failed ? 1 : 0;
});

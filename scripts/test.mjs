// npm test: sets up what the tests need, runs all of them, and ends with the totals.
// npm run test:fast: only what needs no Python peer, no browser and no notebook. npm run test:deep: everything and the long runs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkMachine, findChromium, main, root, setUp } from './setup.mjs';

const DEEP = ['test/deep/**'];
const SLOW = ['test/interop/**', 'test/kernel/**', 'test/notebook/**', 'test/pack.test.ts'];
const tier = process.argv[2] ?? 'all';

function check(name, command, args, env = {}) {
  console.log(`\n== ${name}`);
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } }).status === 0;
}

await main(async () => {
  checkMachine();
  const all = tier !== 'fast';
  await setUp(['dependencies', 'native', 'build', 'model', ...(all ? ['jupyter', 'extension', 'peers', 'chromium'] : [])]);
  if (tier === 'setup') return 0;
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const one = (ok) => totals[ok ? 'passed' : 'failed']++;
  one(check('lint and format', process.execPath, [join(root, 'node_modules/@biomejs/biome/bin/biome'), 'check', '.']));
  one(check('types of the tests', process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'test']));
  const report = join(root, 'test-results', 'vitest.json');
  mkdirSync(join(root, 'test-results'), { recursive: true });
  const left = [...(all ? [] : SLOW), ...(tier === 'deep' ? [] : DEEP)];
  const exclude = left.flatMap((pattern) => ['--exclude', pattern]);
  const env = { TUNEBOOK_CHROMIUM: findChromium() ?? '' };
  check(
    'tests',
    process.execPath,
    [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=default', '--reporter=json', `--outputFile=${report}`, ...exclude],
    env,
  );
  if (tier === 'deep') {
    one(check('sanitizers', process.execPath, [join(root, 'scripts/sanitize.mjs')]));
    one(check('sanitizers, plain instruction set', process.execPath, [join(root, 'scripts/sanitize.mjs')], { TUNEBOOK_ISA: 'base' }));
  }
  if (existsSync(report)) {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    totals.passed += result.numPassedTests;
    totals.failed += result.numFailedTests + (result.numFailedTests === 0 && !result.success ? 1 : 0);
    totals.skipped += result.numPendingTests + result.numTodoTests;
  } else totals.failed++;
  console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
  return totals.failed ? 1 : 0;
});

// npm run sanitize: the op tests under AddressSanitizer and UndefinedBehaviorSanitizer, in a build of the ops of its own.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { main, root, SetupError, setUp } from './setup.mjs';

await main(async () => {
  process.env.TUNEBOOK_SANITIZE = '1';
  const native = createRequire(import.meta.url)('./native.cjs');
  await setUp(['dependencies']);
  await native.ensureNative(console.log);
  const compiler = native.findCompiler();
  // Node is not built with the sanitizers, so their runtime must be in the process before it.
  const libraries = ['libasan.so', 'libubsan.so'].map((name) =>
    spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim(),
  );
  if (libraries.some((path) => !path.includes('/')))
    throw new SetupError(`${compiler} has no sanitizer libraries: use g++ with libasan and libubsan.`);
  const tests = ['ops', 'attention', 'heads', 'updates', 'backend', 'decode'].map((name) => `test/engine/${name}.test.ts`);
  const result = spawnSync(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...tests], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      LD_PRELOAD: libraries.join(':'),
      // Node and TensorFlow free nothing at exit and map memory of their own.
      ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:alloc_dealloc_mismatch=0',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  });
  return result.status === 0 ? 0 : 1;
});

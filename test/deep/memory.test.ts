import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const root = resolve(__dirname, '../..');

it('an op that asks for more memory than there is gives an error, and the process goes on', () => {
  // The process lowers its own limit of address space to what it has and some, and then asks an op for 390 MiB of scratch (shares of the
  // gradients of keys and values) beside the 150 of its result and 150 of keys at most.
  const script = `
    const { readFileSync } = require('node:fs');
    const { execFileSync } = require('node:child_process');
    const tb = require(${JSON.stringify(join(root, 'lib/index.js'))});
    const tf = require(${JSON.stringify(join(root, 'lib/engine/tf.js'))});
    const { attention } = require(${JSON.stringify(join(root, 'lib/engine/ops/attention.js'))});
    (async () => {
      await tb.startBackend();
      const tokens = 200000;
      const saved = [tf.zeros([1, tokens, 3, 64]), tf.tensor1d([tokens], 'int32'), tf.zeros([1, tokens, 1, 64]), tf.zeros([1, tokens, 1])];
      const dy = tf.zeros([1, tokens, 1, 64]);
      const size = Number(readFileSync('/proc/self/status', 'utf8').match(/VmSize:\\s+(\\d+)/)[1]) * 1024;
      execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (size + 430 * 2 ** 20)]);
      try {
        attention.spec.native.backward(dy, saved, { heads: 1, groups: 1, scale: 1 });
      } catch (error) {
        console.log(error.name + ': ' + error.message);
      }
      console.log('sum ' + tf.add(1, 2).dataSync()[0]);
    })();`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  expect(status, stderr.slice(-2000)).toBe(0);
  expect(stdout).toMatch(/^MemoryError: Out of memory: an op asked for \d+ MiB.*smaller per_device_train_batch_size/m);
  expect(stdout).toMatch(/^sum 3$/m);
});

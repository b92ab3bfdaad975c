import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { scratch } from '../tiny';

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
      const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + bytes + ':']);
      limit(size + 430 * 2 ** 20);
      try {
        attention.spec.native.backward(dy, saved, { heads: 1, groups: 1, scale: 1 });
      } catch (error) {
        limit('unlimited'); // the C library's arenas have reserved what was left, and the process needs some to end
        console.log(error.name + ': ' + error.message);
      }
      console.log('sum ' + tf.add(1, 2).dataSync()[0]);
    })();`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  expect(status, stderr.slice(-2000)).toBe(0);
  expect(stdout).toMatch(/^MemoryError: Out of memory: an op asked for \d+ MiB.*smaller per_device_train_batch_size/m);
  expect(stdout).toMatch(/^sum 3$/m);
});

it('200 steps leave tensors and native bytes where step 3 left them, and no more memory in the second half than in the first', () => {
  const script = `
    const tb = require(${JSON.stringify(join(root, 'lib/index.js'))});
    const tf = require(${JSON.stringify(join(root, 'lib/engine/tf.js'))});
    (async () => {
      const name = 'HuggingFaceTB/SmolLM2-135M-Instruct';
      const model = await tb.AutoModelForCausalLM.from_pretrained(name, { progress: false });
      const processing_class = await tb.AutoTokenizer.from_pretrained(name);
      const train_dataset = tb.Dataset.from_list(Array.from({ length: 8 }, (_, i) => ({ prompt: 'What is ' + i + ' plus ' + i + '?', completion: ' It is ' + 2 * i + '.' })));
      const args = new tb.SFTConfig({ output_dir: process.argv[1], max_steps: 200, per_device_train_batch_size: 2, save_strategy: 'no', disable_tqdm: true });
      const trainer = new tb.SFTTrainer({ model, processing_class, train_dataset, args, peft_config: new tb.LoraConfig({ r: 8, target_modules: 'all-linear' }) });
      const seen = [];
      tb.on('run', ({ what }) => {
        const { native, resident } = tb.memoryUsage();
        if (what === 'step') seen.push([tf.memory().numTensors, native, resident / 2 ** 20]);
      });
      await trainer.train();
      console.log('seen ' + JSON.stringify(seen));
    })();`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script, scratch('steps')], { encoding: 'utf8' });
  expect(status, stderr.slice(-2000)).toBe(0);
  const seen = JSON.parse(stdout.match(/^seen (.*)$/m)![1]) as [number, number, number][];
  expect(seen.length).toBe(200);
  for (const [tensors, bytes] of seen.slice(3)) expect([tensors, bytes]).toEqual(seen[2].slice(0, 2));
  const peak = (from: number, to: number) => Math.max(...seen.slice(from, to).map(([, , resident]) => resident));
  expect(peak(100, 200) - peak(10, 100), `MiB more than the ${peak(10, 100)} of steps 10 to 100`).toBeLessThan(16);
});

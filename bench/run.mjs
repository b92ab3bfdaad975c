// npm run bench -- train [--json] [--pairs N] [--batch 4] [--length 512] [--steps 2] [--dtype auto|float32|bfloat16]
// npm run bench -- generate [--json] [--pairs N]
// Our side and the peer's, in turn, each in a process of its own; medians over the pairs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { main, root, SetupError, setUp } from '../scripts/setup.mjs';

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function cpu() {
  const name = cpus()[0].model.trim();
  try {
    const flags = readFileSync('/proc/cpuinfo', 'utf8')
      .match(/^flags\s*:(.*)$/m)[1]
      .split(' ');
    const has = ['avx2', 'avx512f', 'avx512_bf16', 'amx_bf16'].filter((flag) => flags.includes(flag));
    return `${name}, ${cpus().length} cores, ${has.join(' ') || 'no AVX2'}`;
  } catch {
    return `${name}, ${cpus().length} cores`;
  }
}

/** Runs one side; its last line of output is JSON. */
function side(command, args, what) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    env: { ...process.env, HF_HUB_OFFLINE: '1' },
  });
  if (result.status !== 0) throw new SetupError(`${what} failed:\n${result.stderr.slice(-3000)}`);
  return JSON.parse(result.stdout.trim().split('\n').at(-1));
}

await main(async () => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      pairs: { type: 'string', default: '3' },
      batch: { type: 'string', default: '4' },
      length: { type: 'string', default: '512' },
      steps: { type: 'string', default: '2' },
      dtype: { type: 'string', default: 'auto' },
    },
  });
  const [task] = positionals;
  if (!['train', 'generate'].includes(task)) throw new SetupError('usage: npm run bench -- train|generate [--json] [--pairs N]');
  const log = values.json ? () => {} : console.log;
  if (values.json) console.log = () => {};
  await setUp(['dependencies', 'native', 'build', 'model', 'peers']);
  const file = join(mkdtempSync(join(tmpdir(), 'tunebook-bench-')), 'task.json');
  const machine = cpu();
  // A CPU without bfloat16 instructions converts each value: there fp32 is the peer's best.
  const dtype = values.dtype !== 'auto' ? values.dtype : /bf16/.test(machine) ? 'bfloat16' : 'float32';
  writeFileSync(
    file,
    JSON.stringify({ task, dtype, batch: Number(values.batch), length: Number(values.length), steps: Number(values.steps) }),
  );
  const pairs = [];
  for (let i = 0; i < Number(values.pairs); i++) {
    const ours = side(process.execPath, ['bench/ours.mjs', file], 'our side');
    const peer = side(join(root, '.venv-test/bin/python'), ['bench/peer.py', file], "the peer's side");
    pairs.push({ ours, peer });
    log(`pair ${i + 1}: ${JSON.stringify({ ours, peer })}`);
  }
  const peerName = `transformers${task === 'train' ? ' + PEFT' : ''} ${dtype}`;
  for (const [key, unit] of [
    ['tokensPerSecond', 'tokens/s'],
    ['peakMiB', 'MiB'],
  ]) {
    const ours = median(pairs.map((p) => p.ours[key]));
    const peer = median(pairs.map((p) => p.peer[key]));
    const ratio = median(pairs.map((p) => p.ours[key] / p.peer[key]));
    const name = `${task} ${unit === 'MiB' ? 'peak memory' : 'speed'} against ${peerName}`;
    const row = {
      name,
      unit,
      ours: Number(ours.toFixed(1)),
      peer: Number(peer.toFixed(1)),
      ratio: Number(ratio.toFixed(3)),
      pairs: pairs.length,
      cpu: machine,
    };
    process.stdout.write(
      values.json ? `${JSON.stringify(row)}\n` : `${row.name}: ${row.ours} ${unit} here, ${row.peer} there, ratio ${row.ratio}\n`,
    );
  }
});

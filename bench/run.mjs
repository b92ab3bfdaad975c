// npm run bench -- train     4 x 512 tokens, every token labelled: speed, share of the CPU's peak, memory
//                 -- full      the same, all weights trained
//                 -- sft       the project's instruction rows as they are: rows a second
//                 -- peft      every method beside LoRA on the same modules: time of a step, memory
//                 -- generate  64 tokens after 64, greedy
//                 -- inspect   an adapter of Llama-2-7B's shape, r = 16 and r = 64
//                 -- views     a notebook of ten runs of 50,000 steps in JupyterLab: size, first paint, long tasks, cost of live views
//                 -- kernel    our kernel, ipykernel and tslab by Jupyter's protocol [--tries 200]
//                 -- profile   our training step by op [--trace FILE: for ui.perfetto.dev]
// [--base q4_1|nf4|bf16: what our weights are packed as] [--json] [--pairs N] [--batch 4] [--method IA3] [--length 512] [--steps N] [--rank 16] [--dtype auto|float32|bfloat16] [--alone]
// Our side and the peer's (transformers + PEFT, in training with and without gradient checkpointing) in turn, each in a process
// of its own; medians over the pairs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { writeTslabKernelspec } from '../scripts/kernelspec.mjs';
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

const { cacheFolder } = createRequire(import.meta.url)('../scripts/native.cjs');
const TASKS = {
  train: 'tokensPerSecond',
  full: 'tokensPerSecond',
  sft: 'rowsPerSecond',
  peft: null,
  generate: 'tokensPerSecond',
  inspect: null,
  views: null,
  kernel: null,
  profile: null,
};
const UNITS = { tokensPerSecond: 'tokens/s', rowsPerSecond: 'rows/s' };

/** Figures by name, each the median of its values. */
const medians = (runs) => Object.fromEntries(Object.keys(runs[0]).map((key) => [key, median(runs.map((run) => run[key]))]));

/** Our kernel beside others, each asked the same by one client. */
async function kernels(tries, print) {
  await setUp(['dependencies', 'native', 'build', 'jupyter', 'extension', 'peers']);
  const kernels = mkdtempSync(join(tmpdir(), 'tunebook-kernels-'));
  writeTslabKernelspec(join(kernels, 'kernels'));
  process.env.JUPYTER_PATH = [join(root, '.venv/share/jupyter'), kernels].join(':');
  const python = join(root, '.venv-test/bin/python');
  const found = Object.fromEntries(
    // tslab stops answering after some hundred requests
    ['tunebook', 'python3', 'tslab'].map((name) => [
      name,
      side(python, ['bench/kernel.py', name, String(name === 'tslab' ? Math.min(tries, 20) : tries)], name),
    ]),
  );
  for (const name of Object.keys(found.tunebook)) {
    const row = { name, tunebook: found.tunebook[name], ipykernel: found.python3[name], tslab: found.tslab[name], cpu: cpu() };
    const shown = (value) => (value === undefined ? '-' : value.toFixed(1)).padStart(10);
    print(row, `${name.padEnd(40)} ${shown(row.tunebook)} ${shown(row.ipykernel)} ${shown(row.tslab)}`);
  }
}

/** Options without which a method is none. */
const NEEDED = { PROMPT_TUNING: { num_virtual_tokens: 20 } };

/** Every PEFT method (or one) as PEFT has it by default, beside LoRA on the same modules, in turn; LoRA's own are q_proj and v_proj. */
async function methods({ method, rank, pairs, batch, length }, run, print) {
  const all = Object.values(createRequire(import.meta.url)('../lib/peft/methods.js')).map(({ spec }) => spec.peft_type);
  if (method && !all.includes(method)) throw new SetupError(`--method ${method} is not one of ${all.join(', ')}`);
  for (const peft_type of method ? [method] : all) {
    const turns = Array.from({ length: Number(pairs) }, () => {
      const mine = run({ peft_type, ...NEEDED[peft_type] });
      const target_modules = mine.modules.length ? mine.modules : null;
      return { mine, lora: run({ peft_type: 'LORA', r: Number(rank), lora_alpha: 2 * Number(rank), target_modules }) };
    });
    const of = (side, figure) => median(turns.map((turn) => turn[side][figure]));
    const [time, memory] = [of('lora', 'tokensPerSecond') / of('mine', 'tokensPerSecond'), of('mine', 'peakMiB') / of('lora', 'peakMiB')];
    const { modules, trained } = turns[0].mine;
    const beside = modules.length ? `LoRA on ${modules.join(', ')}` : 'LoRA on q_proj, v_proj';
    const row = {
      name: `peft ${peft_type}, ${batch} x ${length}, r = ${rank}`,
      trained,
      time,
      memory,
      peakMiB: of('mine', 'peakMiB'),
      beside,
    };
    print(
      { ...row, tokensPerSecond: of('mine', 'tokensPerSecond'), runs: turns.length, cpu: cpu() },
      `${peft_type.padEnd(16)} ${String(trained).padStart(9)} trained, ${row.peakMiB.toFixed(0).padStart(5)} MiB; a step ${time.toFixed(2)} x, memory ${memory.toFixed(2)} x that of ${beside}`,
    );
  }
}

await main(async () => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      alone: { type: 'boolean', default: false },
      pairs: { type: 'string', default: '3' },
      batch: { type: 'string', default: '4' },
      length: { type: 'string', default: '512' },
      steps: { type: 'string' },
      rank: { type: 'string', default: '16' },
      dtype: { type: 'string', default: 'auto' },
      base: { type: 'string', default: 'q4_1' },
      trace: { type: 'string' },
      tries: { type: 'string', default: '200' },
      method: { type: 'string' },
    },
  });
  const [task] = positionals;
  if (!(task in TASKS)) throw new SetupError(`usage: npm run bench -- ${Object.keys(TASKS).join('|')} [--json] [--pairs N]`);
  const log = values.json ? () => {} : console.log;
  const print = (row, text) => process.stdout.write(values.json ? `${JSON.stringify(row)}\n` : `${text}\n`);
  if (values.json) console.log = () => {};
  if (task === 'inspect') {
    await setUp(['dependencies', 'native', 'build']);
    for (const rank of [16, 64]) {
      const runs = Array.from({ length: Number(values.pairs) }, () =>
        side(process.execPath, ['bench/inspect.mjs', JSON.stringify({ rank })], 'inspect'),
      );
      const seconds = median(runs.map((run) => run.seconds));
      print(
        { name: `inspect, r = ${rank}`, seconds, runs: runs.length, cpu: cpu() },
        `inspect, 224 modules, r = ${rank}: ${seconds.toFixed(2)} s`,
      );
    }
    return;
  }
  if (task === 'views') {
    await setUp(['dependencies', 'native', 'build', 'jupyter', 'extension', 'chromium']);
    const found = medians(Array.from({ length: Number(values.pairs) }, () => side(process.execPath, ['bench/views.mjs'], 'views')));
    for (const [name, value] of Object.entries(found))
      print({ name, value, runs: Number(values.pairs), cpu: cpu() }, `${name.padEnd(30)} ${value.toPrecision(4)}`);
    return;
  }
  if (task === 'kernel') return kernels(Number(values.tries), print);
  await setUp(['dependencies', 'native', 'build', 'model', ...(values.alone || ['profile', 'peft'].includes(task) ? [] : ['peers'])]);
  const file = join(mkdtempSync(join(tmpdir(), 'tunebook-bench-')), 'task.json');
  const machine = cpu();
  // A CPU without bfloat16 instructions converts each value: there fp32 is the best of either side. In full fine-tuning the weights
  // are fp32 on both sides, since small updates vanish in bf16 ones, and their products in this type.
  const dtype = values.dtype !== 'auto' ? values.dtype : /bf16/.test(machine) ? 'bfloat16' : 'float32';
  const [batch, length, rank] = [values.batch, values.length, values.rank].map(Number);
  const steps = Number(values.steps ?? (task === 'sft' ? 40 : 2));
  const trace = values.trace && resolve(values.trace);
  const { base } = values;
  const folder = join(cacheFolder(), 'bench', 'SmolLM2-135M-fp32');
  if (!['q4_1', 'nf4', 'bf16'].includes(base)) throw new SetupError(`--base ${base} is not one of q4_1, nf4, bf16`);
  const give = (given) => writeFileSync(file, JSON.stringify({ task, dtype, batch, length, steps, rank, base, folder, trace, ...given }));
  const ours = () => side(process.execPath, ['bench/ours.mjs', file], 'our side');
  const peer = (...options) => side(join(root, '.venv-test/bin/python'), ['bench/peer.py', file, ...options], "the peer's side");

  if (base === 'nf4' && !existsSync(join(folder, 'model.safetensors'))) {
    give({ task: 'convert' });
    ours();
  }
  give({});
  if (task === 'profile') {
    const { byOp, outside, seconds } = ours();
    const share = (value) => `${(100 * value).toFixed(1)} %`;
    for (const row of byOp)
      print(
        row,
        `${row.name.padEnd(28)} ${String(row.calls).padStart(6)} calls ${row.milliseconds.toFixed(1).padStart(10)} ms ${share(row.share).padStart(8)}`,
      );
    print({ outside, seconds, cpu: machine }, `outside native ops: ${share(outside)} of ${seconds.toFixed(2)} s in ${steps} steps`);
    return;
  }

  if (task === 'peft') {
    const withMethod = (peft) => {
      give({ peft });
      return ours();
    };
    return methods(values, withMethod, print);
  }

  const pairs = [];
  for (let i = 0; i < Number(values.pairs); i++) {
    const pair = { ours: ours() };
    if (!values.alone) pair.peer = peer();
    if (!values.alone && task !== 'generate') pair.checkpointing = peer('--checkpointing');
    pairs.push(pair);
    log(`pair ${i + 1}: ${JSON.stringify(pair)}`);
  }
  const here = medians(pairs.map((pair) => pair.ours));
  const rounded = (value) => Number(value.toPrecision(4));
  const setting = {
    train: `, ${batch} x ${length}, r = ${rank}, ${base}`,
    full: `, ${batch} x ${length}`,
    sft: `, batches of ${batch}, r = ${rank}, ${base}`,
    generate: '',
  }[task];
  const row = (name, unit, mine, theirs) => {
    const found = { name, unit, ours: rounded(here[mine]), pairs: pairs.length, cpu: machine };
    if (theirs) {
      found.peer = rounded(median(pairs.map(theirs)));
      found.ratio = rounded(median(pairs.map((pair) => pair.ours[mine] / theirs(pair))));
    }
    print(found, `${name}: ${found.ours} ${unit} here${theirs ? `, ${found.peer} there, ratio ${found.ratio}` : ''}`);
  };
  const speed = TASKS[task];
  const name = `${task}${setting}`;
  const withPeer = (theirs) => (values.alone ? undefined : theirs);
  row(
    `${name}, against ${dtype}`,
    UNITS[speed],
    speed,
    withPeer((pair) => Math.max(pair.peer[speed], pair.checkpointing?.[speed] ?? 0)),
  );
  if (here.shareOfPeak) row(`${name}, share of the peak of ${rounded(here.peakGflops)} GFLOPS`, '', 'shareOfPeak');
  row(
    `${name}, peak memory`,
    'MiB',
    'peakMiB',
    withPeer((pair) => pair.peer.peakMiB),
  );
  if (pairs[0].checkpointing)
    row(`${name}, peak memory, against gradient checkpointing`, 'MiB', 'peakMiB', (pair) => pair.checkpointing.peakMiB);
});

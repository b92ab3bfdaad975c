// `bench -- serve`: our server and llama.cpp's under the same load, one after the other, each in a process of its own.
import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import process from 'node:process';
import { ensureLlamaCpp, llamaCpp } from '../scripts/llama_cpp.mjs';
import { freePort } from '../scripts/ports.mjs';

/** Starts a server, measures it once it is healthy, and ends it. */
async function measured(measure, command, args, port) {
  const child = spawn(command, args, { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  try {
    for (let tries = 0; ; tries++) {
      const healthy = await fetch(`${url}/health`).then(
        ({ ok }) => ok,
        () => false,
      );
      if (healthy) break;
      if (child.exitCode !== null || tries > 600) throw new Error(`${command} does not answer`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const { rows } = await measure(url, { pid: child.pid });
    return Object.fromEntries(rows.map((row) => [row.clients, row]));
  } finally {
    child.kill();
    if (child.exitCode === null) await new Promise((resolve) => child.on('close', resolve));
  }
}

/** Medians over the pairs, with 1, 4 and 16 clients; ratios against llama.cpp's and against one client. */
export async function serving({ measure, gguf, pairs, alone, print, median }) {
  if (!alone) await ensureLlamaCpp(console.log);
  const runs = { ours: [], llama: [] };
  for (let i = 0; i < pairs; i++) {
    const port = await freePort();
    runs.ours.push(
      await measured(measure, process.execPath, ['scripts/cli.cjs', 'serve', 'HuggingFaceTB/SmolLM2-135M-Instruct', '--port', port], port),
    );
    if (alone) continue;
    const other = await freePort();
    // Room for 16 answers at once, each of 512 tokens.
    const args = ['-m', gguf, '-t', cpus().length, '-np', 16, '-c', 16 * 512, '--port', other, '--no-webui'];
    runs.llama.push(await measured(measure, llamaCpp('llama-server'), args, other));
  }
  const of = (who, clients, name) => (runs[who].length ? median(runs[who].map((run) => run[clients][name])) : undefined);
  for (const clients of [1, 4, 16])
    for (const [name, unit] of [
      ['tokens_per_second', 'tokens/s'],
      ['requests_per_second', 'requests/s'],
      ['first_token_ms', 'ms'],
      ['peak_memory_mib', 'MiB'],
    ]) {
      const [ours, peer] = [of('ours', clients, name), of('llama', clients, name)];
      const ratio = peer && ours / peer;
      const label = `${clients} clients, ${name}`;
      print(
        { name: label, unit, ours, peer, ratio, runs: pairs },
        `${label.padEnd(36)} ${ours.toPrecision(4)} ${unit}${peer ? `, llama.cpp ${peer.toPrecision(4)}, ratio ${ratio.toFixed(2)}` : ''}`,
      );
    }
  const gain = of('ours', 16, 'tokens_per_second') / of('ours', 1, 'tokens_per_second');
  print({ name: '16 clients, one', ratio: gain, runs: pairs }, `${'tokens of 16 clients, of one'.padEnd(36)} ratio ${gain.toFixed(2)}`);
}

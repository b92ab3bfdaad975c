import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..');
const python = join(root, '.venv-test', 'bin', 'python');

/** Runs one function of peer.py, or of another script beside it (the real Python libraries), on JSON and returns its JSON. */
export function peer<T>(task: string, input: object, script = 'peer.py'): T {
  if (!existsSync(python)) throw new Error('The Python peers are not set up: run `npm test`, or `node scripts/test.mjs setup`.');
  const folder = mkdtempSync(join(tmpdir(), 'tunebook-peer-'));
  const [from, to] = [join(folder, 'in.json'), join(folder, 'out.json')];
  writeFileSync(from, JSON.stringify(input));
  const env = { ...process.env, HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error', TOKENIZERS_PARALLELISM: 'false' };
  const result = spawnSync(python, [join(root, 'test', script), task, from, to], { env, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status !== 0) throw new Error(`${script} ${task} failed:\n${result.stderr.slice(-4000)}`);
  return JSON.parse(readFileSync(to, 'utf8'));
}

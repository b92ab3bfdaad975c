import { spawn } from 'node:child_process';
import { resolve } from 'node:path';

const root = resolve(__dirname, '../..');

/** Runs Python code with the real huggingface_hub beside our server (so not synchronously) and returns what its last line says as JSON. */
export function python<T>(code: string, env: Record<string, string>): Promise<T> {
  const all = {
    ...process.env,
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    HF_HUB_OFFLINE: '0',
    HF_HUB_DISABLE_TELEMETRY: '1',
    ...env,
  };
  const child = spawn(resolve(root, '.venv-test/bin/python'), ['-c', code], { env: all });
  let [out, err] = ['', ''];
  child.stdout.on('data', (bytes) => {
    out += bytes;
  });
  child.stderr.on('data', (bytes) => {
    err += bytes;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) reject(new Error(`Python ended with ${code}:\n${err.slice(-4000)}`));
      else resolve(JSON.parse(out.trim().split('\n').at(-1) as string));
    });
  });
}

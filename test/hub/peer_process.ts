import { spawn } from 'node:child_process';
import { resolve } from 'node:path';

/** Loads a name's files in another process, by the compiled library; resolves when it has ended. */
export function loads(
  name: string,
  env: Record<string, string>,
): { child: ReturnType<typeof spawn>; ended: Promise<{ code: number | null; out: string }> } {
  const lib = resolve(__dirname, '../../lib/hub/resolve.js');
  const code = `require(${JSON.stringify(lib)}).resolveModel(${JSON.stringify(name)}).then(({ path }) => console.log(path), (e) => { console.log(e.message); process.exit(1); })`;
  const child = spawn(process.execPath, ['-e', code], { env: { ...process.env, HF_HUB_OFFLINE: '0', ...env } });
  let out = '';
  child.stdout?.on('data', (bytes) => {
    out += bytes;
  });
  return { child, ended: new Promise((done) => child.on('close', (code) => done({ code, out: out.trim() }))) };
}

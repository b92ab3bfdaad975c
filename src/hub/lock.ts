import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Runs f while this process has the lock file that Python's filelock takes too, by flock(2). Node has no call for that, so the system's
 * `flock` holds it for us: it lets go when its input ends, however we do. Where there is none (or the file system knows no locks) f runs
 * without: two downloads of a file write the same bytes, and the first that is whole is renamed into place.
 * @param waiting called where another process has the lock
 */
export async function withLock<T>(path: string, f: () => Promise<T>, waiting: () => void = () => {}): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const holder = await hold(path, waiting);
  try {
    return await f();
  } finally {
    holder?.stdin?.end();
  }
}

function hold(path: string, waiting: () => void): Promise<ChildProcess | undefined> {
  return new Promise((resolve) => {
    // Of a group of its own: an interrupt is not meant for it.
    const child = spawn('flock', [path, 'sh', '-c', 'echo; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'], detached: true });
    const slow = setTimeout(waiting, 1000);
    const settle = (held: boolean) => {
      clearTimeout(slow);
      resolve(held ? child : undefined);
    };
    child.stdin.on('error', () => {});
    child.on('error', () => settle(false));
    child.on('exit', () => settle(false));
    child.stdout.once('data', () => settle(true));
  });
}

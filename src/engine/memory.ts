import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { Handle } from './backend';
import * as tf from './tf';

const MiB = 1024 * 1024;

/** Bytes as people read them: '93 MiB'. */
export const mebibytes = (bytes: number): string => `${Math.round(bytes / MiB).toLocaleString('en-US')} MiB`;

/** Where memory stands, in bytes. */
export function memoryUsage(): { resident: number; peak: number; native: number; tensors: number; machine: number } {
  return {
    resident: process.memoryUsage.rss(),
    peak: process.resourceUsage().maxRSS * 1024,
    native: Handle.nativeBytes,
    tensors: tf.memory().numBytes,
    machine: totalmem(),
  };
}

/** What this process may still take, in bytes: the machine's available memory, or less where a cgroup limits it. */
export function availableMemory(): number {
  let available = freemem();
  try {
    available = Number(readFileSync('/proc/meminfo', 'utf8').match(/MemAvailable:\s+(\d+)/)?.[1]) * 1024 || available;
    const limit = Number(readFileSync('/sys/fs/cgroup/memory.max', 'utf8'));
    const used = Number(readFileSync('/sys/fs/cgroup/memory.current', 'utf8'));
    if (limit) available = Math.min(available, limit - used);
  } catch {
    // no /proc or no cgroup: what the system says is all there is
  }
  return available;
}

import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { TunebookError } from '../../src/core/errors';
import { Random } from '../../src/core/random';

/** A folder in memory, where the system has one: what is fuzzed is written many thousand times. */
export const quickFolder = (): string => mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tunebook-fuzz-'));

/** Numbers at the borders of what fields hold. */
const BORDERS = [0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
const pick = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)];

/** A copy with bytes changed, numbers of 4 or 8 bytes put to a border, pieces doubled, moved or left out, or cut short. */
export function mutated(bytes: Buffer, random: Random): Buffer {
  let copy = Buffer.from(bytes);
  for (let n = random.below(4) + 1; n > 0; n--) {
    const at = random.below(copy.length || 1);
    const kind = random.below(8);
    if (!copy.length) break;
    if (kind < 3) copy[at] = random.below(256);
    else if (kind === 3) copy[at] ^= 1 << random.below(8);
    else if (kind === 4 && at + 4 <= copy.length) copy.writeUInt32LE(pick(random, BORDERS) % 2 ** 32, at);
    else if (kind === 5 && at + 8 <= copy.length) {
      const big = random.below(4) ? BigInt(pick(random, BORDERS)) : (1n << 64n) - BigInt(1 + random.below(300));
      copy.writeBigUInt64LE(big, at);
    } else if (kind === 6) {
      const [from, to, length] = [at, random.below(copy.length), random.below(32)];
      copy.copyWithin(to, from, Math.min(copy.length, from + length));
    } else if (kind === 7) {
      const end = Math.min(copy.length, at + random.below(16));
      copy = random.below(2)
        ? Buffer.concat([copy.subarray(0, at), copy.subarray(end)])
        : Buffer.concat([copy.subarray(0, end), copy.subarray(at)]);
    }
  }
  return random.uniform() < 0.15 ? copy.subarray(0, random.below(copy.length + 1)) : copy;
}

const deep = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
const STRANGE: (() => unknown)[] = [
  ...[null, true, false, '', [], {}, -1, 0, 1, 2, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 + 2, -0.0001, 1e-320].map(
    (value) => () => value,
  ),
  ...[
    '../../../../etc/passwd',
    '/etc/passwd',
    '..',
    '\0',
    '\ud800',
    'a'.repeat(5000),
    '__proto__',
    'constructor',
    '\u202e',
    '1',
    'null',
  ].map((value) => () => value),
  () => deep(2000),
  () => Array.from({ length: 2000 }, (_, i) => i),
  () => Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i])),
];

/** A JSON value with one to three of its parts replaced, left out, doubled or renamed. */
export function mutatedJson(value: unknown, random: Random): unknown {
  const copy = structuredClone(value);
  for (let n = random.below(3) + 1; n > 0; n--) {
    const places: [holder: Record<string, unknown>, key: string][] = [];
    const walk = (at: unknown, depth: number) => {
      if (typeof at !== 'object' || !at || depth > 12) return;
      // Long lists are all alike.
      for (const key of Object.keys(at).slice(0, 40)) {
        places.push([at as Record<string, unknown>, key]);
        walk((at as Record<string, unknown>)[key], depth + 1);
      }
    };
    walk(copy, 0);
    if (!places.length) return pick(random, STRANGE)();
    const [holder, key] = pick(random, places);
    const kind = random.below(6);
    if (kind < 3) holder[key] = pick(random, STRANGE)();
    else if (kind === 3) delete holder[key];
    else if (kind === 4) holder[`${key}${pick(random, ['', '_', ' ', 'x'])}`] = holder[key];
    else holder[key] = pick(random, places)[0];
  }
  return copy;
}

/** The text of a mutated JSON file: mostly JSON still, now and then not. */
export function mutatedJsonText(bytes: Buffer, random: Random): Buffer {
  if (random.uniform() < 0.3) return mutated(bytes, random);
  try {
    return Buffer.from(JSON.stringify(mutatedJson(JSON.parse(bytes.toString('utf8')), random)) ?? '');
  } catch {
    return mutated(bytes, random); // a part that holds itself
  }
}

/** Something that reads a file. */
export interface Target {
  /** A whole file, as it is before it is damaged. */
  bytes: Buffer;
  path: string;
  mutate(bytes: Buffer, random: Random): Buffer;
  read(): Promise<unknown>;
}

/** Files of a few thousand bytes may take this much more than 4 times their size: what any reading takes, and what is not collected yet. */
const SLACK = 96 << 20;
const memory = () => {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
};

/**
 * Reads mutated copies: each gives a value, or an error of ours that a user can act on; none takes 2 s or memory out of proportion. Returns
 * how many were refused: a harness that refuses all or none tests nothing.
 */
export async function survives({ bytes, path, mutate, read }: Target, rounds: number, seed = 99): Promise<number> {
  const random = Random.seeded(seed);
  let refused = 0;
  writeFileSync(path, bytes);
  await read();
  for (let i = 0; i < rounds; i++) {
    const file = mutate(bytes, random);
    writeFileSync(path, file);
    const [before, from] = [memory(), performance.now()];
    try {
      await read();
    } catch (error) {
      refused++;
      if (!(error instanceof TunebookError)) throw new Error(`round ${i} of seed ${seed} (${path}): ${(error as Error).stack}`);
    }
    const [grown, took] = [memory() - before, performance.now() - from];
    // A machine that is busy elsewhere stops everybody: what was slow is tried again, and counted by what it takes of the processor.
    if (took > 2000) {
      const from = process.cpuUsage();
      await read().catch(() => {});
      const { user, system } = process.cpuUsage(from);
      expect((user + system) / 1000, `round ${i} of seed ${seed} (${path})`).toBeLessThan(2000);
    }
    if (grown > SLACK + 4 * file.length) expect.fail(`round ${i} of seed ${seed} (${path}) took ${grown} bytes for ${file.length}`);
  }
  writeFileSync(path, bytes);
  await read();
  expect(refused).toBeGreaterThan(rounds / 20);
  expect(refused).toBeLessThan(rounds);
  return refused;
}

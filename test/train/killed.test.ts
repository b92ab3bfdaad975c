// Runs that are killed, and a disk that is full: nothing is lost but the steps since the last checkpoint.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { prepared, run, survives } from './torn';

let folder: string;
beforeAll(async () => {
  folder = await prepared();
});

it('a run killed 20 times at random moments, saves among them, ends with the losses of the undisturbed run', () =>
  survives(folder, { kills: 20, least: 8, seed: 7 }));

/** A file system of so many bytes over `out`, for one process: root of a namespace of its own may make one. */
const small = (out: string, bytes: number) => [
  'unshare',
  '-rm',
  'sh',
  '-c',
  `mkdir -p ${out} && mount -t tmpfs -o size=${bytes} none ${out} && "$@"; code=$?; ls ${out}; exit $code`,
  'sh',
];

it.skipIf(spawnSync('unshare', ['-rm', 'true']).status !== 0)(
  'on a disk that is full training goes on, says so, and keeps whole checkpoints',
  async () => {
    const out = join(folder, 'full');
    const { errors, output } = await run(folder, out, { within: small(out, 200 * 1024) });
    expect(errors).toMatch(/could not be saved: the disk is full/);
    expect(errors).toMatch(/What was trained is still in memory|checkpoint-\d+/);
    expect(output).not.toMatch(/partial/);
  },
);

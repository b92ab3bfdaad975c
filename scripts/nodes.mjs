// The Node releases that the quick tier runs on besides the one at hand: npm's packages of their binaries, kept in the cache.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { cacheFolder, run, SetupError } from './native.cjs';

const platform = `${process.platform}-${process.arch}`;
/** Versions, and the SHA-512 of their packages for each platform. */
const NODES = {
  '20.20.2': {
    'linux-x64': 'PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==',
    'linux-arm64': 'LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg==',
  },
  '22.23.3': {
    'linux-x64': 'qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==',
    'linux-arm64': 'l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==',
  },
  '24.21.0': {
    'linux-x64': '3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    'linux-arm64': 'FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
  },
  '26.10.0': {
    'linux-x64': 'OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==',
    'linux-arm64': 'idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SKdCMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==',
  },
};

/** Versions and paths of the pinned releases, the oldest first; empty where npm has no binaries for this platform. */
export const nodes = () =>
  Object.entries(NODES)
    .filter(([, hashes]) => hashes[platform])
    .map(([version]) => ({ version, path: join(cacheFolder(), `node-${version}`, 'node') }));

/** Those of another major version than the one that runs this. */
export const otherNodes = () => nodes().filter(({ version }) => version.split('.')[0] !== process.versions.node.split('.')[0]);

/** Downloads what is missing: whole or not at all. */
export async function fetchNodes() {
  for (const { version, path } of nodes()) {
    if (existsSync(path)) continue;
    const folder = join(path, '..');
    const partial = `${folder}.partial-${process.pid}`;
    mkdirSync(partial, { recursive: true });
    const what = `Downloading Node ${version}`;
    const remedy = "Check the network (and npm's proxy or registry settings), then run the same command again.";
    try {
      await run('npm', ['pack', '--silent', '--pack-destination', partial, `node-${platform}@${version}`], { what, remedy });
      const file = join(partial, readdirSync(partial)[0]);
      if (createHash('sha512').update(readFileSync(file)).digest('base64') !== NODES[version][platform])
        throw new SetupError(`${what}: the package is not the one that was published (its SHA-512 differs). ${remedy}`);
      await run('tar', ['-xzf', file, '-C', partial, '--strip-components=2', 'package/bin/node'], {
        what: `Unpacking Node ${version}`,
        remedy,
      });
      rmSync(file);
      rmSync(folder, { recursive: true, force: true });
      renameSync(partial, folder);
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
  }
}

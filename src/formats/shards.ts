import { readdir, rm } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { FileError, OptionError } from '../core/errors';
import { sortedJson } from '../core/json';
import { show } from '../core/options';
import { writeText } from './atomic';
import { readJson } from './json';
import { type Writable, writableBytes, writeSafetensors } from './safetensors';

const UNITS: Record<string, number> = { KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** '5GB' or a number of bytes, as transformers takes it. */
export function parseSize(size: number | string): number {
  const [, number, unit] = typeof size === 'string' ? (size.trim().match(/^(\d+)\s*([KMGT]B)$/i) ?? []) : [];
  const bytes = typeof size === 'string' ? Number(number) * UNITS[unit?.toUpperCase()] : size;
  if (!(bytes > 0))
    throw new OptionError(`max_shard_size is ${show(size)}; give a number of bytes above 0 or a text like '5GB' or '200MB'.`);
  return bytes;
}

/** In their order, each shard as full as it may be; what is larger than a shard alone in one. As huggingface_hub does it. */
function split(tensors: Writable[], most: number): Writable[][] {
  const shards: Writable[][] = [];
  let [current, size]: [Writable[], number] = [[], 0];
  for (const tensor of tensors) {
    const bytes = writableBytes(tensor);
    if (bytes > most) {
      shards.push([tensor]);
      continue;
    }
    if (size + bytes > most) {
      shards.push(current);
      [current, size] = [[], 0];
    }
    current.push(tensor);
    size += bytes;
  }
  if (current.length) shards.push(current);
  return shards;
}

/**
 * Writes tensors as `stem`.safetensors, or where that would be larger than `max_shard_size` as shards with stem.safetensors.index.json beside
 * them; shards of an earlier save are removed. One tensor at a time is in memory.
 */
export async function writeShards(
  folder: string,
  stem: string,
  tensors: Iterable<Writable>,
  max_shard_size: number | string,
): Promise<void> {
  const list = [...tensors];
  const shards = split(list, parseSize(max_shard_size));
  const number = (i: number) => String(i).padStart(5, '0');
  const names = shards.map((_, i) => `${stem}${shards.length === 1 ? '' : `-${number(i + 1)}-of-${number(shards.length)}`}.safetensors`);
  for (const [i, shard] of shards.entries()) await writeSafetensors(join(folder, names[i]), shard);
  const index = `${stem}.safetensors.index.json`;
  if (shards.length > 1) {
    const count = (t: Writable) => t.shape.reduce((a, b) => a * b, 1);
    const sum = (of: (t: Writable) => number) => list.reduce((total, t) => total + of(t), 0);
    const weight_map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]])));
    await writeText(
      join(folder, index),
      sortedJson({ metadata: { total_parameters: sum(count), total_size: sum(writableBytes) }, weight_map }),
    );
  }
  const old = new RegExp(`^${stem}(-\\d{5}-of-\\d{5})?\\.safetensors(\\.index\\.json)?$`);
  for (const file of await readdir(folder))
    if (old.test(file) && !names.includes(file) && !(file === index && shards.length > 1)) await rm(join(folder, file));
}

/** A file beside others that a file of theirs names. One that lies elsewhere is a FileError: a name may be written to reach for it. */
export function within(folder: string, name: string, where: string): string {
  const path = resolve(folder, name);
  if (!path.startsWith(resolve(folder) + sep) || name.includes('\0'))
    throw new FileError(`${where} names the file ${show(name)}, which is outside of its folder: it is damaged, or means harm.`);
  return path;
}

/** Where each tensor of a sharded model is, by name: the paths of an index's shards. */
export async function readIndex(folder: string, file: string): Promise<Map<string, string>> {
  const path = within(folder, file, join(folder, 'config.json'));
  const map = (await readJson(path)).weight_map;
  if (typeof map !== 'object' || !map || !Object.values(map).every((shard) => typeof shard === 'string'))
    throw new FileError(`${path} has no weight_map of file names: it is damaged. Get it again.`);
  return new Map(Object.entries(map as Record<string, string>).map(([name, shard]) => [name, within(folder, shard, path)]));
}

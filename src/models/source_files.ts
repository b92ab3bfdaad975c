import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { FileError } from '../core/errors';
import type { Gguf } from '../formats/gguf';
import { PICKLE } from '../formats/pickle';
import { readSafetensors } from '../formats/safetensors';
import { readIndex, within } from '../formats/shards';
import { type GgufNames, HEAD, type Layout, type Stored, WeightSource } from './source';

/** A GGUF file's tensors. One that the architecture has no place for is a FileError that names it. */
export function ggufSource(gguf: Gguf, names: GgufNames, layers: number, layout?: Layout): WeightSource {
  const stored = new Map<string, Stored>();
  const placed = new Set<string>();
  for (const [from, to] of names.tensors)
    for (let i = 0; i < (from.includes('{}') ? layers : 1); i++) {
      const tensor = gguf.tensors.get(from.replace('{}', String(i)));
      if (!tensor) continue;
      placed.add(tensor.name);
      stored.set(to.replace('{}', String(i)), tensor);
    }
  const others = [...gguf.tensors.keys()].filter((name) => !placed.has(name) && !names.elsewhere.test(name));
  if (others.length)
    throw new FileError(
      `${gguf.path} has ${others.length} tensors that tunebook has no place for in this architecture, such as ${others.slice(0, 3).join(', ')}: without them the model would answer wrongly.`,
    );
  return new WeightSource(gguf.path, stored, layout && { ...layout, turned: undefined }, names);
}

/**
 * The file of weights in a folder: model.safetensors where it is there, else the shards that model.safetensors.index.json lists, as in
 * transformers; or what config.json names (`transformers_weights`).
 */
export async function safetensorsSource(folder: string, layout?: Layout, named?: unknown): Promise<WeightSource> {
  const [whole, list] = ['model.safetensors', 'model.safetensors.index.json'];
  const file = typeof named === 'string' ? named : existsSync(join(folder, whole)) || !existsSync(join(folder, list)) ? whole : list;
  const path = within(folder, file, join(folder, 'config.json'));
  const places = file.endsWith('.index.json') ? await readIndex(folder, file) : undefined;
  const stored = new Map<string, Stored>();
  for (const shard of places ? new Set(places.values()) : [path]) {
    if (!existsSync(shard)) throw noFile(folder, shard);
    // Where two shards hold a tensor, the index says which one counts.
    for (const [name, tensor] of (await readSafetensors(shard)).tensors)
      if (!stored.has(name) || places?.get(name) === shard) stored.set(name, { ...tensor, path: shard });
  }
  return new WeightSource(folder, stored, layout);
}

function noFile(folder: string, file: string): FileError {
  const pickled = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => existsSync(join(folder, name)));
  return new FileError(
    pickled
      ? `${folder} has its weights in ${pickled}: ${PICKLE}`
      : `${folder} has no ${relative(folder, file)}: it is not a whole model. Download it again.`,
  );
}

/** The matrices that a config.json asks for, without files: all of one type. */
export class ConfigSource extends WeightSource {
  override hollow = true;

  constructor(
    description: string,
    private readonly type: string,
    private readonly tied: boolean,
    layout?: Layout,
  ) {
    super(description, new Map(), layout);
  }

  protected override find(name: string): { key: string; at: Stored } {
    return { key: name, at: { path: this.description, shape: [], type: this.type, offset: 0, bytes: 0 } };
  }

  override has(name: string): boolean {
    return name !== HEAD || !this.tied;
  }
}

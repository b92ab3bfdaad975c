import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { floats } from '../../src/formats/floats';
import { readSafetensors, type Writable, writeSafetensors } from '../../src/formats/safetensors';
import { withFile } from '../../src/formats/slices';
import { AutoModelForCausalLM } from '../../src/index';
import { peer } from '../peer';
import { scratch, tinyLlama } from '../tiny';

const script = 'peer_formats.py';

it('safetensors of every type round-trip with the Python package, byte for byte', async () => {
  const folder = scratch('safetensors');
  const theirs = peer<{ floats: Record<string, (number | null)[]> }>('safetensors', { folder }, script);
  const files: string[] = [];
  for (const name of ['theirs', 'plain']) {
    const path = join(folder, `${name}.safetensors`);
    const { tensors, metadata } = await readSafetensors(path);
    expect(metadata).toEqual(name === 'theirs' ? { format: 'pt' } : {});
    const written = join(folder, `${name}-ours.safetensors`);
    await withFile(path, async (read) => {
      const list: Writable[] = [...tensors.values()].reverse().map((t) => ({ ...t, data: () => read(t) }));
      await writeSafetensors(written, list, name === 'theirs' ? metadata : null);
      for (const [key, values] of Object.entries(theirs.floats)) {
        const stored = tensors.get(key)!;
        const decode = floats[stored.type as keyof typeof floats];
        expect([...decode(await read(stored), values.length)], key).toEqual(values);
      }
    });
    expect(readFileSync(written).equals(readFileSync(path)), name).toBe(true);
    files.push(written);
  }
  const again = peer<Record<string, string>>('safetensors', { folder, back: true, files }, script);
  for (const path of files) expect(readFileSync(again[path]).equals(readFileSync(path)), path).toBe(true);
});

it('shards are those of transformers, and load there', async () => {
  const model = await tinyLlama(3);
  const [ours, theirs] = [scratch('shards'), scratch('shards')];
  const loaded = await AutoModelForCausalLM.from_pretrained(model, { progress: false });
  writeFileSync(join(ours, 'model-00001-of-00009.safetensors'), 'of an earlier save');
  mkdirSync(join(ours, 'other'));
  await loaded.save_pretrained(ours, { max_shard_size: 30_000 });
  const result = peer('shards', { model, ours, theirs, size: 30_000 }, script);
  expect(result).toEqual({ same: true, missing: [], unexpected: [] });
  const shards = (folder: string) => readdirSync(folder).filter((file) => file.startsWith('model'));
  expect(shards(ours).length).toBeGreaterThan(3);
  expect(shards(ours)).toEqual(shards(theirs));
  const [mine, other] = [ours, theirs].map((folder) => JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8')));
  expect(mine.metadata).toEqual(other.metadata);
  expect(Object.keys(mine.weight_map)).toEqual(Object.keys(other.weight_map));
  const again = await AutoModelForCausalLM.from_pretrained(ours, { progress: false });
  expect(again.numParameters()).toBe(loaded.numParameters());
  await again.save_pretrained(ours);
  expect(shards(ours)).toEqual(['model.safetensors']);
});

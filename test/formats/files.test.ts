import { readFileSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { Random } from '../../src/core/random';
import { readGguf } from '../../src/formats/gguf';
import { readSafetensors, writeSafetensors } from '../../src/formats/safetensors';
import { withFile } from '../../src/formats/slices';
import { scratch } from '../tiny';

const u32 = (n: number) => Buffer.from(Uint32Array.of(n).buffer);
const u64 = (n: number) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
const str = (s: string) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);

/** A small GGUF file: two metadata entries and one tensor of 64 floats. */
function smallGguf(): Buffer {
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(1),
    u64(2),
    str('general.architecture'),
    u32(8),
    str('llama'),
    str('list'),
    u32(9),
    u32(4),
    u64(3),
    u32(1),
    u32(2),
    u32(3),
    str('token_embd.weight'),
    u32(2),
    u64(32),
    u64(2),
    u32(0),
    u64(0),
  ]);
  return Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32), Buffer.alloc(256, 1)]);
}

/** Every damaged file must give a clear error (or, by luck, still a valid file), never another kind of failure. */
async function fuzz(bytes: Buffer, read: (path: string) => Promise<unknown>, rounds: number): Promise<void> {
  const path = join(scratch('fuzz'), 'file');
  const random = Random.seeded(5);
  for (let i = 0; i < rounds; i++) {
    let damaged = Buffer.from(bytes);
    for (let n = random.below(4) + 1; n > 0; n--) damaged[random.below(damaged.length)] = random.below(256);
    if (random.uniform() < 0.3) damaged = damaged.subarray(0, random.below(damaged.length));
    writeFileSync(path, damaged);
    await read(path).catch((error: Error) => {
      expect(error.name, `round ${i}: ${error.stack}`).toBe('FileError');
    });
  }
}

it('reads metadata and tensors of a GGUF file', async () => {
  const path = join(scratch(), 'a.gguf');
  writeFileSync(path, smallGguf());
  const gguf = await readGguf(path);
  expect(Object.fromEntries(gguf.metadata)).toEqual({ 'general.architecture': 'llama', list: [1, 2, 3] });
  const tensor = gguf.tensors.get('token_embd.weight');
  expect(tensor).toMatchObject({ shape: [2, 32], type: 'F32', bytes: 256 });
  expect(tensor!.offset % 32).toBe(0);
});

it('names what is wrong with a file that is no GGUF, or a truncated one', async () => {
  const path = join(scratch(), 'a.gguf');
  await expect(readGguf(path)).rejects.toThrow(/cannot be opened/);
  writeFileSync(path, Buffer.alloc(100, 'x'));
  await expect(readGguf(path)).rejects.toThrow(/not a GGUF file: it begins with "xxxx"/);
  writeFileSync(path, smallGguf().subarray(0, -1));
  await expect(readGguf(path)).rejects.toThrow(/truncated: tensor token_embd.weight ends at byte \d+, but the file has \d+/);
  writeFileSync(path, smallGguf().subarray(0, 60));
  await expect(readGguf(path)).rejects.toThrow(/truncated: its header/);
});

it('survives damaged GGUF files', () => fuzz(smallGguf(), readGguf, 1500));

it('writes safetensors that read back, and leaves no partial file', async () => {
  const path = join(scratch(), 'a.safetensors');
  const data = Float32Array.from({ length: 6 }, (_, i) => i / 3);
  await writeSafetensors(path, [
    { name: 'ü.b', shape: [2, 3], data },
    { name: 'a', shape: [0, 4], data: new Float32Array(0) },
  ]);
  const file = await readSafetensors(path);
  expect(file.metadata).toEqual({ format: 'pt' });
  const stored = file.tensors.get('ü.b')!;
  expect(stored.shape).toEqual([2, 3]);
  expect(stored.offset % 4).toBe(0);
  const bytes = await withFile(path, (read) => read(stored));
  expect(new Float32Array(bytes.buffer)).toEqual(data);
  expect(await readdir(dirname(path))).toEqual(['a.safetensors']);
  writeFileSync(path, readFileSync(path).subarray(0, -4));
  await expect(readSafetensors(path)).rejects.toThrow(/truncated or damaged/);
});

it('survives damaged safetensors files', async () => {
  const path = join(scratch(), 'a.safetensors');
  await writeSafetensors(path, [{ name: 'a', shape: [2, 3], data: new Float32Array(6) }]);
  await fuzz(readFileSync(path), readSafetensors, 1500);
});

import { readFileSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { readGguf } from '../../src/formats/gguf';
import { readSafetensors, writeSafetensors } from '../../src/formats/safetensors';
import { withFile } from '../../src/formats/slices';
import { scratch } from '../tiny';
import { smallGguf } from './small_gguf';

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

it('names a tensor that is there twice, and bytes that no tensor has', async () => {
  const path = join(scratch(), 'a.safetensors');
  const tensor = { name: 'a', shape: [2], data: Float32Array.of(1, 2) };
  await writeSafetensors(path, [tensor, { ...tensor, name: 'b' }]);
  const twice = Buffer.from(readFileSync(path, 'latin1').replace('"b":', '"a":'), 'latin1');
  writeFileSync(path, twice);
  await expect(readSafetensors(path)).rejects.toThrow(/damaged: tensor a begins at byte \d+, not \d+/);
  await writeSafetensors(path, [tensor]);
  writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(8)]));
  await expect(readSafetensors(path)).rejects.toThrow(/tensors end at byte \d+, but it has \d+/);
  const gguf = join(scratch(), 'a.gguf');
  writeFileSync(gguf, smallGguf(2));
  await expect(readGguf(gguf)).rejects.toThrow(/damaged GGUF header \(two tensors token_embd.weight\)/);
});

it.each([0x280, 0x480, 0x580, 0x10280])('a safetensors file whose header is %d bytes long is not taken for a pickle', async (size) => {
  const header = JSON.stringify({ x: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }).padEnd(size);
  const length = Buffer.alloc(8);
  length.writeUInt32LE(size);
  const path = join(scratch('header'), 'model.safetensors');
  writeFileSync(path, Buffer.concat([length, Buffer.from(header), Buffer.alloc(4)]));
  expect([...(await readSafetensors(path)).tensors.keys()]).toEqual(['x']);
});

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readGguf } from '../../src/formats/gguf';
import { f32, type GgufEntry, text, u32, writeGguf } from '../../src/formats/gguf_write';
import { readSafetensors } from '../../src/formats/safetensors';
import { AutoModelForCausalLM, PeftModel } from '../../src/index';
import { scratch, tinyLlama, tinyTokenizer } from '../tiny';

function safetensors(header: string, data = Buffer.alloc(16)): string {
  const path = join(scratch('hostile'), 'a.safetensors');
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  writeFileSync(path, Buffer.concat([head, Buffer.from(header), data]));
  return path;
}
const entry = (shape: unknown, offsets: unknown, dtype = 'F32') => ({ dtype, shape, data_offsets: offsets });

it.each([
  ['offsets beyond the file', { a: entry([4], [0, 16]), b: entry([4], [16, 32]) }, /does not fit bytes 16 to 32 of 16/],
  ['offsets the wrong way round', { a: entry([4], [16, 0]) }, /does not fit/],
  ['negative offsets', { a: entry([4], [-16, 0]) }, /entry of tensor a is damaged/],
  ['tensors over each other', { a: entry([4], [0, 16]), b: entry([2], [8, 16]) }, /begins at byte/],
  ['a shape whose size overflows', { a: entry([2 ** 32, 2 ** 32, 2 ** 32], [0, 16]) }, /does not fit/],
  ['a dimension that is no number', { a: entry([1e308], [0, 16]) }, /entry of tensor a is damaged/],
  ['a type called like what every object has', { a: entry([4], [0, 16], 'constructor') }, /entry of tensor a is damaged/],
  ['metadata that is no text', { __metadata__: { a: { b: 1 } }, a: entry([4], [0, 16]) }, /__metadata__ is not texts/],
  ['a list', [], /header is not an object/],
])('safetensors with %s are refused', async (_, header, message) => {
  await expect(readSafetensors(safetensors(JSON.stringify(header)))).rejects.toThrow(message);
});

it('a header that says it is larger than the file, or nested without end, is refused', async () => {
  const path = safetensors('{}');
  const bytes = readFileSync(path);
  bytes.writeBigUInt64LE(2n ** 62n);
  writeFileSync(path, bytes);
  await expect(readSafetensors(path)).rejects.toThrow(/not a whole safetensors file/);
  const nested = '['.repeat(1e6);
  await expect(readSafetensors(safetensors(`{"a":${nested}${']'.repeat(1e6)}}`))).rejects.toThrow(/damaged|not JSON/);
});

const metadata = (more: [string, GgufEntry][] = []) => new Map<string, GgufEntry>([['general.architecture', text('llama')], ...more]);
const gguf = async (change: (bytes: Buffer) => void, more: [string, GgufEntry][] = []) => {
  const path = join(scratch('hostile'), 'a.gguf');
  await writeGguf(path, metadata(more), [{ name: 'token_embd.weight', shape: [2, 32], type: 'F32', data: () => new Uint8Array(256) }]);
  const bytes = readFileSync(path);
  change(bytes);
  writeFileSync(path, bytes);
  return readGguf(path);
};
const after = (bytes: Buffer, what: string) => bytes.indexOf(what) + what.length;

it.each<[string, (bytes: Buffer) => void, RegExp, [string, GgufEntry][]?]>([
  ['a count of metadata without end', (b) => b.writeBigUInt64LE(2n ** 63n, 16), /a count of 9223372036854775808/],
  ['a count of tensors larger than the file', (b) => b.writeBigUInt64LE(100_000_000n, 8), /truncated: its header|damaged GGUF header/],
  ['a text longer than the file', (b) => b.writeBigUInt64LE(200_000_000n, after(b, 'general.architecture') + 4), /truncated: its header/],
  [
    'a list longer than the file',
    (b) => b.writeBigUInt64LE(100_000_000n, after(b, 'a.list') + 8),
    /truncated: its header/,
    [['a.list', u32([1, 2])]],
  ],
  [
    'a shape whose size overflows',
    (b) => b.writeBigUInt64LE(2n ** 52n, after(b, 'token_embd.weight') + 4),
    /which F32 cannot hold|truncated/,
  ],
  ['a tensor of many dimensions', (b) => b.writeUInt32LE(1000, after(b, 'token_embd.weight')), /of rank 1000/],
  ['an offset beyond the file', (b) => b.writeBigUInt64LE(64n, after(b, 'token_embd.weight') + 24), /truncated: tensor token_embd/],
  ['an offset between its steps', (b) => b.writeBigUInt64LE(3n, after(b, 'token_embd.weight') + 24), /not aligned/],
  ['an alignment of nothing', () => {}, /an alignment of 0/, [['general.alignment', u32(0)]]],
  ['bytes in the other order', (b) => b.writeUInt32BE(3, 4), /big-endian/],
  ['a part of a model whose others are not there', () => {}, /one of 3 parts/, [['split.count', u32(3)]]],
])('GGUF with %s is refused', async (_, change, message, more) => {
  await expect(gguf(change, more)).rejects.toThrow(message);
});

it('tensors over each other in GGUF are refused', async () => {
  const path = join(scratch('hostile'), 'a.gguf');
  const tensor = (name: string) => ({ name, shape: [32], type: 'F32', data: () => new Uint8Array(128) });
  await writeGguf(path, metadata([['x', f32(1)]]), [tensor('first'), tensor('second')]);
  const bytes = readFileSync(path);
  bytes.writeBigUInt64LE(96n, after(bytes, 'second') + 16);
  writeFileSync(path, bytes);
  await expect(readGguf(path)).rejects.toThrow(/tensors first and second overlap/);
});

it('a scale that is no number is refused with its tensor', async () => {
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(), { progress: false });
  const path = await model.save_pretrained_gguf(join(scratch('hostile'), 'a.gguf'), tinyTokenizer(), { quantization_method: 'q8_0' });
  const { tensors } = await readGguf(path);
  const bytes = readFileSync(path);
  bytes.writeUInt16LE(0x7e00, tensors.get('blk.0.ffn_up.weight')!.offset + 34);
  writeFileSync(path, bytes);
  await expect(AutoModelForCausalLM.from_pretrained(path, { progress: false })).rejects.toThrow(
    /up_proj.weight is damaged: a scale of its Q8_0 blocks is no number \(block 1\)/,
  );
  model.dispose();
});

it.each(['../model.safetensors', '/etc/hostname', 'a/../../b.safetensors', '..', 'x\0.safetensors'])(
  'a shard called %j is refused',
  async (shard) => {
    const folder = await tinyLlama();
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: { 'model.embed_tokens.weight': shard } }));
    const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...json, transformers_weights: 'model.safetensors.index.json' }));
    await expect(AutoModelForCausalLM.from_pretrained(folder, { progress: false })).rejects.toThrow(/outside of its folder/);
  },
);

it('pickles are refused with what to do, whatever they are called', async () => {
  const folder = scratch('pickle');
  writeFileSync(join(folder, 'config.json'), readFileSync(join(await tinyLlama(), 'config.json')));
  writeFileSync(join(folder, 'pytorch_model.bin'), Buffer.from('PK\x03\x04'));
  await expect(AutoModelForCausalLM.from_pretrained(folder, { progress: false })).rejects.toThrow(
    /pytorch_model\.bin: reading a PyTorch pickle runs.*save_pretrained/,
  );
  for (const head of ['PK\x03\x04', '\x80\x02}q\x00']) {
    const path = join(scratch('pickle'), 'model.safetensors');
    writeFileSync(path, Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(100)]));
    await expect(readSafetensors(path)).rejects.toThrow(/is a pickle: .*save_file/);
    await expect(readGguf(path)).rejects.toThrow(/is a pickle/);
  }
  const adapter = scratch('pickle');
  writeFileSync(join(adapter, 'adapter_config.json'), JSON.stringify({ peft_type: 'LORA', r: 4, target_modules: ['q_proj'] }));
  writeFileSync(join(adapter, 'adapter_model.bin'), Buffer.from('PK\x03\x04'));
  const model = await AutoModelForCausalLM.from_pretrained(await tinyLlama(), { progress: false });
  await expect(PeftModel.from_pretrained(model, adapter)).rejects.toThrow(/adapter_model\.bin: reading a PyTorch pickle/);
});

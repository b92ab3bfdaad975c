const u32 = (n: number) => Buffer.from(Uint32Array.of(n).buffer);
const u64 = (n: number) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
const str = (s: string) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);

/** A small GGUF file: two metadata entries and one tensor of 64 floats, named once or more often. */
export function smallGguf(copies = 1): Buffer {
  const tensor = [str('token_embd.weight'), u32(2), u64(32), u64(2), u32(0), u64(0)];
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(copies),
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
    ...Array.from({ length: copies }, () => tensor).flat(),
  ]);
  return Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32), Buffer.alloc(256, 1)]);
}

import { FileError } from '../core/errors';
import { type Put, writeAtomically } from './atomic';
import { METADATA, TENSOR_TYPES } from './gguf_types';

type MetadataType = Exclude<keyof typeof METADATA, 'array'>;

/** A value of metadata with its type; a list has that of its items. */
export interface GgufEntry {
  type: MetadataType;
  value: number | bigint | boolean | string | readonly (number | bigint | boolean | string)[];
}

export const text = (value: string | readonly string[]): GgufEntry => ({ type: 'string', value });
export const u32 = (value: number | readonly number[]): GgufEntry => ({ type: 'uint32', value });
export const i32 = (value: number | readonly number[]): GgufEntry => ({ type: 'int32', value });
export const f32 = (value: number | readonly number[]): GgufEntry => ({ type: 'float32', value });
export const flag = (value: boolean): GgufEntry => ({ type: 'bool', value });

/** A tensor to be written; its bytes are asked for when their turn comes. */
export interface GgufWritable {
  name: string;
  /** Outermost first. */
  shape: number[];
  type: string;
  data(): Uint8Array | Promise<Uint8Array>;
}

const ALIGNMENT = 32;
const aligned = (n: number): number => Math.ceil(n / ALIGNMENT) * ALIGNMENT;
const CODES = new Map(Object.entries(TENSOR_TYPES).map(([code, [name, block, bytes]]) => [name, { code: Number(code), block, bytes }]));

const number = (bytes: number, write: (buffer: Buffer) => void): Buffer => {
  const buffer = Buffer.alloc(bytes);
  write(buffer);
  return buffer;
};
const uint32 = (n: number) => number(4, (b) => b.writeUInt32LE(n));
const uint64 = (n: number) => number(8, (b) => b.writeBigUInt64LE(BigInt(n)));
const string = (s: string) => {
  const bytes = Buffer.from(s);
  return Buffer.concat([uint64(bytes.length), bytes]);
};

const WRITERS: Record<MetadataType, (value: never) => Buffer> = {
  uint8: (n: number) => number(1, (b) => b.writeUInt8(n)),
  int8: (n: number) => number(1, (b) => b.writeInt8(n)),
  uint16: (n: number) => number(2, (b) => b.writeUInt16LE(n)),
  int16: (n: number) => number(2, (b) => b.writeInt16LE(n)),
  uint32,
  int32: (n: number) => number(4, (b) => b.writeInt32LE(n)),
  float32: (n: number) => number(4, (b) => b.writeFloatLE(n)),
  bool: (on: boolean) => Buffer.of(on ? 1 : 0),
  string,
  uint64: (n: number | bigint) => number(8, (b) => b.writeBigUInt64LE(BigInt(n))),
  int64: (n: number | bigint) => number(8, (b) => b.writeBigInt64LE(BigInt(n))),
  float64: (n: number) => number(8, (b) => b.writeDoubleLE(n)),
};

function entryBytes(key: string, { type, value }: GgufEntry): Buffer {
  const write = WRITERS[type] as (value: unknown) => Buffer;
  const kind = uint32(METADATA[type]);
  if (!Array.isArray(value)) return Buffer.concat([string(key), kind, write(value)]);
  return Buffer.concat([string(key), uint32(METADATA.array), kind, uint64(value.length), ...value.map(write)]);
}

export function ggufBytes({ shape, type }: Pick<GgufWritable, 'shape' | 'type'>): number {
  const { block, bytes } = CODES.get(type) as { block: number; bytes: number };
  return (shape.reduce((a, b) => a * b, 1) / block) * bytes;
}

/** Writes a GGUF file of version 3; one tensor at a time is in memory, and no half-written file is ever there. */
export async function writeGguf(path: string, metadata: ReadonlyMap<string, GgufEntry>, tensors: readonly GgufWritable[]): Promise<void> {
  const head = [Buffer.from('GGUF'), uint32(3), uint64(tensors.length), uint64(metadata.size)];
  for (const [key, entry] of metadata) head.push(entryBytes(key, entry));
  let at = 0;
  for (const { name, shape, type } of tensors) {
    const dimensions = [...shape].reverse().map(uint64);
    head.push(string(name), uint32(shape.length), ...dimensions, uint32(CODES.get(type)?.code as number), uint64(at));
    at = aligned(at + ggufBytes({ shape, type }));
  }
  await writeAtomically(path, async (put) => {
    await putAligned(put, Buffer.concat(head));
    for (const tensor of tensors) {
      const bytes = await tensor.data();
      if (bytes.length !== ggufBytes(tensor))
        throw new FileError(
          `${path}: ${tensor.name} [${tensor.shape}] has ${ggufBytes(tensor)} bytes as ${tensor.type}, but ${bytes.length} were given.`,
        );
      await putAligned(put, bytes);
    }
  });
}

async function putAligned(put: Put, bytes: Uint8Array): Promise<void> {
  await put(bytes);
  const rest = aligned(bytes.length) - bytes.length;
  if (rest) await put(new Uint8Array(rest));
}

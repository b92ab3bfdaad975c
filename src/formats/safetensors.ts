import { open } from 'node:fs/promises';
import { FileError } from '../core/errors';
import { writeAtomically } from './atomic';
import { refusePickle } from './pickle';

/** One tensor of a safetensors file. */
export interface SafeTensor {
  name: string;
  shape: number[];
  /** The file's own name: F32, F16, BF16, I64, U8, ... */
  type: string;
  /** From the beginning of the file, in bytes. */
  offset: number;
  bytes: number;
}

export interface Safetensors {
  path: string;
  metadata: Record<string, string>;
  tensors: Map<string, SafeTensor>;
}

/** The format's types, in its own order, and bits of a value. */
const BITS: Record<string, number> = {
  ...{ BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8 },
  ...{ I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64 },
};
const RANKS = Object.keys(BITS);

const bytesOf = (shape: number[], type: string): number => (shape.reduce((a, b) => a * b, 1) * BITS[type]) / 8;

/** Reads a safetensors header (https://github.com/huggingface/safetensors#format); tensors stay in the file. */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const file = await open(path, 'r').catch((error: Error) => {
    throw new FileError(`${path} cannot be opened: ${error.message}.`);
  });
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(9); // the size, and what the header begins with
    await file.read(head, 0, 9, 0);
    refusePickle(path, head);
    const length = size < 8 ? 0 : Number(head.readBigUInt64LE());
    if (length < 2 || length > 100_000_000 || 8 + length > size)
      throw new FileError(`${path} is not a whole safetensors file (${size} bytes, header of ${length}). Download or save it again.`);
    const json = Buffer.alloc(length);
    await file.read(json, 0, length, 8);
    return { path, ...parseHeader(json.toString('utf8'), path, 8 + length, size) };
  } finally {
    await file.close();
  }
}

function parseHeader(json: string, path: string, start: number, size: number): Omit<Safetensors, 'path'> {
  let header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
  try {
    header = JSON.parse(json);
  } catch {
    throw new FileError(`${path} is not a safetensors file: its header is not JSON.`);
  }
  if (typeof header !== 'object' || !header || Array.isArray(header))
    throw new FileError(`${path} is not a safetensors file: its header is not an object.`);
  const tensors = new Map<string, SafeTensor>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') {
      metadata = entry as unknown as Record<string, string>;
      if (typeof metadata !== 'object' || !metadata || !Object.values(metadata).every((value) => typeof value === 'string'))
        throw new FileError(`${path} is damaged: its __metadata__ is not texts by name.`);
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    const whole = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
    if (!Object.hasOwn(BITS, dtype) || !Array.isArray(shape) || !shape.every(whole) || !Array.isArray(offsets) || !offsets.every(whole))
      throw new FileError(`${path}: the entry of tensor ${name} is damaged.`);
    const [from, to] = offsets;
    if (offsets.length !== 2 || to - from !== bytesOf(shape, dtype) || start + to > size)
      throw new FileError(
        `${path} is truncated or damaged: tensor ${name} [${shape}] ${dtype} does not fit bytes ${from} to ${to} of ${size - start}.`,
      );
    tensors.set(name, { name, shape, type: dtype, offset: start + from, bytes: to - from });
  }
  checkWhole([...tensors.values()], path, start, size);
  return { metadata, tensors };
}

/** The format has no gaps and no overlaps: either is a tensor written twice, or data that nothing names. */
function checkWhole(tensors: SafeTensor[], path: string, start: number, size: number): void {
  let at = start;
  for (const { name, offset, bytes } of tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (offset !== at)
      throw new FileError(`${path} is damaged: tensor ${name} begins at byte ${offset}, not ${at}, where the one before it ends.`);
    at += bytes;
  }
  if (at !== size) throw new FileError(`${path} is damaged: its tensors end at byte ${at}, but it has ${size}.`);
}

/** A tensor to be written, of fp32 where it has no `type`; where its values are a function, they are asked for when their turn comes. */
export interface Writable {
  name: string;
  shape: number[];
  type?: string;
  data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

export const writableBytes = ({ shape, type = 'F32' }: Writable): number => bytesOf(shape, type);

const { compare } = Buffer;

/**
 * Writes tensors as one safetensors file, byte for byte as the Python package does: those of the widest type first, each by their names.
 * No half-written file is ever there.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<Writable>,
  metadata: Record<string, string> | null = { format: 'pt' },
): Promise<void> {
  const named = [...tensors].map((tensor) => ({ ...tensor, key: Buffer.from(tensor.name), rank: RANKS.indexOf(tensor.type ?? 'F32') }));
  const list = named.sort((a, b) => b.rank - a.rank || compare(a.key, b.key));
  let at = 0;
  const entries: [string, unknown][] = metadata ? [['__metadata__', metadata]] : [];
  for (const tensor of list) {
    const { name, shape, type = 'F32' } = tensor;
    const end = at + writableBytes(tensor);
    entries.push([name, { dtype: type, shape, data_offsets: [at, end] }]);
    at = end;
  }
  const text = `{${entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join()}}`;
  const length = Math.ceil(Buffer.byteLength(text) / 8) * 8;
  const head = Buffer.alloc(8 + length, ' ');
  head.writeBigUInt64LE(BigInt(length));
  head.write(text, 8);
  await writeAtomically(path, async (put) => {
    await put(head);
    for (const tensor of list) {
      const { buffer, byteOffset, byteLength } = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      if (byteLength !== writableBytes(tensor))
        throw new FileError(`${path}: ${tensor.name} [${tensor.shape}] has ${writableBytes(tensor)} bytes, but ${byteLength} were given.`);
      await put(new Uint8Array(buffer, byteOffset, byteLength));
    }
  });
}

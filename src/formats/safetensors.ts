import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { FileError } from '../core/errors';

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

const BYTES: Record<string, number> = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
};

/** Reads a safetensors header (https://github.com/huggingface/safetensors#format); tensors stay in the file. */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const file = await open(path, 'r').catch((error: Error) => {
    throw new FileError(`${path} cannot be opened: ${error.message}.`);
  });
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(8);
    await file.read(head, 0, 8, 0);
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
  const tensors = new Map<string, SafeTensor>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header ?? {})) {
    if (name === '__metadata__') {
      metadata = entry as unknown as Record<string, string>;
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    const whole = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
    if (!(dtype in BYTES) || !Array.isArray(shape) || !shape.every(whole) || !Array.isArray(offsets) || !offsets.every(whole))
      throw new FileError(`${path}: the entry of tensor ${name} is damaged.`);
    const [from, to] = offsets;
    if (to - from !== shape.reduce((a, b) => a * b, BYTES[dtype]) || start + to > size)
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

/** A tensor to be written in fp32; where its values are a function, they are asked for when their turn comes. */
export interface Writable {
  name: string;
  shape: number[];
  data: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/** Writes fp32 tensors as one safetensors file: under another name first, so that no half-written file is ever there. */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<Writable>,
  metadata: Record<string, string> = { format: 'pt' },
): Promise<void> {
  const list = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
  const header: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const { name, shape } of list) {
    const bytes = shape.reduce((a, b) => a * b, BYTES.F32);
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(Buffer.byteLength(text) / 8) * 8 + text.length - Buffer.byteLength(text), ' '));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(json.length));
  const partial = `${path}.${randomBytes(4).toString('hex')}.partial`;
  const file = await open(partial, 'w');
  try {
    await file.write(head);
    await file.write(json);
    for (const { data } of list) {
      const values = typeof data === 'function' ? await data() : data;
      await file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    await file.sync();
    await file.close();
    await rename(partial, path);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(partial, { force: true });
    throw error;
  }
}
